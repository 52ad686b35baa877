/** The objects of one route. Pure. */

import { reachableEndpoints } from '../../endpoints/categorize.ts';
import { MAGLEV_SLOTS, maglevTable } from '../../endpoints/maglev.ts';
import {
  type Endpoint,
  endpointText,
  type ServicePort,
  type ServiceRoute,
  servicePortText,
} from '../../endpoints/types.ts';
import { weightsOf } from '../../endpoints/weights.ts';
import { cutComment } from '../../netfilter/messages.ts';
import { planAffinity } from './affinity.ts';
import { affinityRules, chainOf, choiceRules, guardChain, guardRules, localChain, localRules } from './choices.ts';
import { affinityChain, affinityMap, CHAINS, type Choice, choiceChain, learnChain } from './names.ts';
import {
  ANY_ADDRESS,
  chainKey,
  clusterIPKey,
  type Frontend,
  type FrontendAddress,
  frontendKey,
  type NftObject,
  type Pool,
} from './objects.ts';
import type { NftablesOptions } from './options.ts';
import { layoutOf } from './packet.ts';
import { allowedSources, restricts } from './source-ranges.ts';

/** The objects of a route, chains first. Source of the layout: README.md. */
export function planRoute(route: ServiceRoute, options: NftablesOptions): ReadonlyMap<string, NftObject> {
  return new RoutePlan(route, options).objects();
}

class RoutePlan {
  readonly #route: ServiceRoute;
  readonly #port: ServicePort;
  readonly #options: NftablesOptions;
  readonly #text: string;
  readonly #chains = new Map<string, NftObject>();

  constructor(route: ServiceRoute, options: NftablesOptions) {
    this.#route = route;
    this.#port = route.servicePort;
    this.#options = options;
    this.#text = cutComment(servicePortText(this.#port.name));
  }

  objects(): ReadonlyMap<string, NftObject> {
    const frontends = new Map<string, NftObject>();
    for (const { where, frontend } of this.#frontends()) frontends.set(frontendKey(where), frontend);
    const { clusterIP, name } = this.#port;
    if (clusterIP !== '') {
      frontends.set(clusterIPKey(clusterIP), {
        kind: 'cluster-ip',
        service: cutComment(`${name.namespace}/${name.name}`),
      });
    }
    const affinity = this.#hasAffinity ? planAffinity(this.#route, this.#options) : [];
    return new Map([...affinity, ...this.#chains, ...frontends]);
  }

  get #hasAffinity(): boolean {
    return this.#port.affinityTimeoutSeconds > 0 && reachableEndpoints(this.#route).length > 0;
  }

  *#frontends(): Iterable<{ where: FrontendAddress; frontend: Frontend }> {
    const { clusterIP, port, nodePort, externalIPs, loadBalancerVIPs, name, loadBalancerSourceRanges } = this.#port;
    const { protocol } = name;
    const seen = new Set([clusterIP]);
    if (clusterIP !== '') yield { where: { ip: clusterIP, port, protocol }, frontend: this.#internal() };
    for (const ip of externalIPs) {
      if (seen.has(ip)) continue;
      seen.add(ip);
      yield { where: { ip, port, protocol }, frontend: this.#external(false, []) };
    }
    for (const ip of loadBalancerVIPs) {
      if (seen.has(ip)) continue;
      seen.add(ip);
      const allowed = allowedSources(loadBalancerSourceRanges, { ownVIP: ip, nodeIP: this.#options.nodeIP });
      yield { where: { ip, port, protocol }, frontend: this.#external(false, allowed) };
    }
    if (nodePort === 0) return;
    const allowed = restricts(this.#port.nodePortSourceRanges) ? allowedSources(this.#port.nodePortSourceRanges) : [];
    yield { where: { ip: ANY_ADDRESS, port: nodePort, protocol }, frontend: this.#external(true, allowed) };
  }

  /** A cluster IP. */
  #internal(): Frontend {
    const { isInternalLocal } = this.#port;
    const endpoints = isInternalLocal ? this.#route.localEndpoints : this.#route.clusterEndpoints;
    const base = { kind: 'frontend', service: this.#text } as const;
    if (endpoints.length === 0) return { ...base, endpoints: [], ...this.#refusal(isInternalLocal, false) };
    const local = endpoints.filter(({ isLocal }) => isLocal);
    return {
      ...base,
      ...this.#pool(endpoints, { isNodePort: false, isInside: false }),
      ...some('hairpins', addressesOf(local)),
      ...this.#learner(),
    };
  }

  /** An external address or a NodePort. `allowed`: the sources that are let in; empty = all. */
  #external(isNodePort: boolean, allowed: readonly string[]): Frontend {
    const { isExternalLocal } = this.#port;
    const { clusterEndpoints, localEndpoints } = this.#route;
    const base = { kind: 'frontend', service: this.#text, ...some('allowed', allowed) } as const;
    const isGuarded = allowed.length > 0;
    if (reachableEndpoints(this.#route).length === 0) {
      return { ...base, endpoints: [], ...this.#refusal(isExternalLocal, isGuarded) };
    }
    const isBlocked = isGuarded ? { refusal: CHAINS.drop } : {};
    if (!isExternalLocal) {
      if (clusterEndpoints.length === 0) return { ...base, endpoints: [], ...isBlocked };
      const pool = this.#pool(clusterEndpoints, { isNodePort, isInside: false });
      const chain = this.#guarded(pool.chain, isNodePort, isGuarded);
      return { ...base, ...pool, chain, source: CHAINS.masquerade, ...isBlocked, ...this.#learner() };
    }
    const hasLocal = localEndpoints.length > 0;
    const local = hasLocal ? this.#pool(localEndpoints, { isNodePort, isInside: false }) : undefined;
    const inside =
      clusterEndpoints.length > 0 ? this.#pool(clusterEndpoints, { isNodePort, isInside: true }) : undefined;
    const chain = this.#guarded(this.#local(local?.chain, isNodePort), isNodePort, isGuarded);
    return {
      ...base,
      endpoints: local?.endpoints ?? [],
      chain,
      ...(inside === undefined ? {} : { inside }),
      source: CHAINS.sourceOfPolicyLocal,
      ...(hasLocal ? isBlocked : { refusal: CHAINS.drop }),
      ...some('hairpins', addressesOf(reachableEndpoints(this.#route))),
      ...this.#learner(),
    };
  }

  /** Refuses at once what has no endpoint anywhere; drops what policy Local keeps from the endpoints on other nodes. */
  #refusal(isLocalOnly: boolean, isGuarded: boolean): Pick<Frontend, 'refusal'> {
    if (!this.#route.hasAnyEndpoints) return { refusal: isGuarded ? CHAINS.guardedRefusal : CHAINS.refuse };
    return isLocalOnly && this.#route.localEndpoints.length === 0 ? { refusal: CHAINS.drop } : {};
  }

  #learner(): Pick<Frontend, 'learner'> {
    return this.#hasAffinity ? { learner: learnChain(this.#port.name) } : {};
  }

  /** Endpoints with the chain that chooses among them, which is planned too. */
  #pool(endpoints: readonly Endpoint[], where: Omit<Choice, 'slots'>): Pool & { readonly chain: string } {
    const slots = this.#slots(endpoints);
    const isHash = this.#port.balancing === 'source-hash';
    const choice: Choice = { ...where, slots: isHash ? 'hash' : slots.length };
    const layout = layoutOf(this.#options.family);
    const name = choiceChain(choice);
    this.#chains.set(chainKey(name), chainOf(choiceRules(choice, layout)));
    if (!this.#hasAffinity) return { chain: name, endpoints: slots };
    const first = affinityChain(this.#port.name, name);
    this.#chains.set(chainKey(first), chainOf(affinityRules(affinityMap(this.#port.name), name, layout)));
    return { chain: first, endpoints: slots };
  }

  /** An endpoint a slot; one that weighs more has more. */
  #slots(endpoints: readonly Endpoint[]): readonly string[] {
    const texts = endpoints.map(endpointText);
    const { balancing, endpointWeights } = this.#port;
    if (balancing === 'random' && endpointWeights.length === 0) return texts;
    const weights = weightsOf(endpoints, this.#port);
    if (balancing === 'random') return texts.flatMap((text, i) => new Array<string>(weights[i] ?? 1).fill(text));
    const table = maglevTable(
      texts.map((key, i) => ({ key, weight: weights[i] ?? 1 })),
      MAGLEV_SLOTS,
    );
    return table.map(index => texts[index] ?? '');
  }

  #local(then: string | undefined, isNodePort: boolean): string {
    const name = localChain(then, isNodePort);
    this.#chains.set(chainKey(name), chainOf(localRules(then, { isNodePort, options: this.#options })));
    return name;
  }

  #guarded(then: string, isNodePort: boolean, isGuarded: boolean): string {
    if (!isGuarded) return then;
    const name = guardChain(then);
    const layout = layoutOf(this.#options.family);
    this.#chains.set(chainKey(name), chainOf(guardRules(then, { isNodePort, layout })));
    return name;
  }
}

function addressesOf(endpoints: readonly Endpoint[]): readonly string[] {
  return [...new Set(endpoints.map(({ ip }) => ip))].toSorted();
}

/** The list under its name, if there is anything in it. */
function some<K extends string>(name: K, list: readonly string[]): { readonly [N in K]?: readonly string[] } {
  return list.length === 0 ? {} : ({ [name]: list } as { [N in K]: readonly string[] });
}
