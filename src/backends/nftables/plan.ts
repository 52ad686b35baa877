/** The objects of one route. Pure. */

import { reachableEndpoints } from '../../endpoints/categorize.ts';
import { MAGLEV_SLOTS, maglevTable } from '../../endpoints/maglev.ts';
import type { Endpoint, ServicePort, ServiceRoute } from '../../endpoints/types.ts';
import { weightsOf } from '../../endpoints/weights.ts';
import { cutComment } from '../../netfilter/messages.ts';
import { hasOwnLocalMap, planAffinity } from './affinity.ts';
import { affinityRules, choiceRules, guardChain, guardRules, localChain, localRules } from './choices.ts';
import { affinityChain, affinityMap, CHAINS, type Choice, choiceChain, isOfOnePort, learnChain } from './names.ts';
import {
  ANY_ADDRESS,
  byKey,
  type ChainObject,
  type Frontend,
  type FrontendAddress,
  type NftObject,
  type PlannedRule,
  type Pool,
} from './objects.ts';
import type { NftablesOptions } from './options.ts';
import { layoutOf } from './packet.ts';
import { allowedSources } from './source-ranges.ts';

/**
 * Chains that depend on nothing but their name and the options, as planned before with the same options: nearly every Service asks for one of a
 * few. Routes get the same objects with and without it.
 */
const sharedChains = new WeakMap<NftablesOptions, Map<string, ChainObject>>();

/** The objects of a route, chains first. Source of the layout: README.md. */
export function planRoute(route: ServiceRoute, options: NftablesOptions): ReadonlyMap<string, NftObject> {
  return new RoutePlan(route, options).objects();
}

class RoutePlan {
  readonly #route: ServiceRoute;
  readonly #port: ServicePort;
  readonly #options: NftablesOptions;
  /** The Service and its port, in one piece: see `flatText`. */
  readonly #service: string;
  readonly #text: string;
  readonly #chains: NftObject[] = [];
  readonly #tables = new Map<string, readonly string[]>();

  constructor(route: ServiceRoute, options: NftablesOptions) {
    this.#route = route;
    this.#port = route.servicePort;
    this.#options = options;
    const { namespace, name, port } = this.#port.name;
    const service = [namespace, name].join('/');
    this.#service = cutComment(service);
    this.#text = cutComment(port === '' ? service : [service, port].join(':'));
  }

  objects(): ReadonlyMap<string, NftObject> {
    const frontends = [...this.#frontends()];
    const { clusterIP } = this.#port;
    const address: NftObject[] =
      clusterIP === '' ? [] : [{ kind: 'cluster-ip', ip: clusterIP, service: this.#service }];
    const affinity = this.#hasAffinity ? planAffinity(this.#route, this.#options) : [];
    return byKey([...affinity, ...this.#chains, ...frontends, ...address]);
  }

  get #hasAffinity(): boolean {
    return this.#port.affinityTimeoutSeconds > 0 && reachableEndpoints(this.#route).length > 0;
  }

  *#frontends(): Iterable<Frontend> {
    const { clusterIP, port, nodePort, externalIPs, loadBalancerVIPs, name } = this.#port;
    const { loadBalancerSourceRanges, nodePortSourceRanges } = this.#port;
    const { protocol } = name;
    const seen = new Set([clusterIP]);
    if (clusterIP !== '') yield this.#internal({ ip: clusterIP, port, protocol });
    // First: source ranges count for an address that is an external IP, too.
    for (const ip of loadBalancerVIPs) {
      if (seen.has(ip)) continue;
      seen.add(ip);
      const own = { ownVIP: ip, nodeIP: this.#options.nodeIP };
      yield this.#external({ ip, port, protocol }, allowedSources(loadBalancerSourceRanges, own));
    }
    for (const ip of externalIPs) {
      if (seen.has(ip)) continue;
      seen.add(ip);
      yield this.#external({ ip, port, protocol }, []);
    }
    if (nodePort === 0) return;
    yield this.#external({ ip: ANY_ADDRESS, port: nodePort, protocol }, allowedSources(nodePortSourceRanges));
  }

  /** A cluster IP. */
  #internal(where: FrontendAddress): Frontend {
    const { isInternalLocal } = this.#port;
    const endpoints = isInternalLocal ? this.#route.localEndpoints : this.#route.clusterEndpoints;
    const base = { kind: 'frontend', where, service: this.#text } as const;
    if (endpoints.length === 0) return { ...base, endpoints: [], ...this.#refusal(isInternalLocal, false) };
    const here = endpoints.filter(({ mayBeLocal }) => mayBeLocal);
    return {
      ...base,
      ...this.#pool(endpoints, { isNodePort: false, isInside: false }),
      ...some('hairpins', addressesOf(here)),
      ...this.#learner(),
    };
  }

  /** An external address or a NodePort. `allowed`: the sources that are let in; empty = all. */
  #external(where: FrontendAddress, allowed: readonly string[]): Frontend {
    const isGuarded = allowed.length > 0;
    const base = { kind: 'frontend', where, service: this.#text, ...some('allowed', allowed) } as const;
    if (reachableEndpoints(this.#route).length === 0) {
      return { ...base, endpoints: [], ...this.#refusal(this.#port.isExternalLocal, isGuarded) };
    }
    const isNodePort = where.ip === ANY_ADDRESS;
    return { ...base, ...this.#served({ isNodePort, isGuarded }), ...this.#learner() };
  }

  #served({
    isNodePort,
    isGuarded,
  }: {
    isNodePort: boolean;
    isGuarded: boolean;
  }): Omit<Frontend, 'kind' | 'where' | 'service'> {
    const { clusterEndpoints, localEndpoints } = this.#route;
    const isBlocked = isGuarded ? { refusal: CHAINS.guardedDrop } : {};
    const pool = (endpoints: readonly Endpoint[], isInside: boolean) =>
      endpoints.length === 0 ? undefined : this.#pool(endpoints, { isNodePort, isInside });
    if (!this.#port.isExternalLocal) {
      const found = pool(clusterEndpoints, false);
      if (found === undefined) return { endpoints: [], ...isBlocked };
      const chain = this.#guarded(found.chain, isNodePort, isGuarded);
      return { ...found, chain, source: CHAINS.masquerade, ...isBlocked };
    }
    const local = pool(localEndpoints, false);
    const inside = pool(clusterEndpoints, true);
    return {
      endpoints: local?.endpoints ?? [],
      chain: this.#guarded(this.#local(local?.chain, isNodePort), isNodePort, isGuarded),
      ...(inside === undefined ? {} : { inside }),
      source: CHAINS.sourceOfPolicyLocal,
      ...(local === undefined ? { refusal: CHAINS.drop } : isBlocked),
      hairpins: addressesOf(reachableEndpoints(this.#route)),
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
    const chain = this.#planChain(name, () => choiceRules(choice, layout));
    if (!this.#hasAffinity) return { chain, endpoints: slots };
    const isLocal = endpoints === this.#route.localEndpoints && hasOwnLocalMap(this.#route);
    const map = affinityMap(this.#port.name, isLocal);
    const first = this.#planChain(affinityChain(map, name), () => affinityRules(map, name, layout));
    return { chain: first, endpoints: slots };
  }

  /** An endpoint a slot; one that weighs more has more. */
  #slots(endpoints: readonly Endpoint[]): readonly string[] {
    const texts = endpoints.map(flatText);
    const { balancing, endpointWeights } = this.#port;
    if (balancing === 'random' && endpointWeights.length === 0) return texts;
    const weights = weightsOf(endpoints, this.#port);
    if (balancing === 'random') return texts.flatMap((text, i) => new Array<string>(weights[i] ?? 1).fill(text));
    return this.#hashed(texts, weights);
  }

  /** Every address of the port has the same table; to make one takes some ms. */
  #hashed(texts: readonly string[], weights: readonly number[]): readonly string[] {
    const id = texts.join();
    const known = this.#tables.get(id);
    if (known !== undefined) return known;
    const table = maglevTable(
      texts.map((key, i) => ({ key, weight: weights[i] ?? 1 })),
      MAGLEV_SLOTS,
    ).map(index => texts[index] ?? '');
    this.#tables.set(id, table);
    return table;
  }

  /** Its name, of which there is one text however many routes plan the chain. */
  #planChain(name: string, rules: () => readonly PlannedRule[]): string {
    const known = sharedChains.get(this.#options) ?? new Map<string, ChainObject>();
    sharedChains.set(this.#options, known);
    const chain = known.get(name) ?? { kind: 'chain', name, rules: rules() };
    if (!isOfOnePort(name)) known.set(name, chain);
    this.#chains.push(chain);
    return chain.name;
  }

  #local(then: string | undefined, isNodePort: boolean): string {
    const rules = () => localRules(then, { isNodePort, options: this.#options });
    return this.#planChain(localChain(then, isNodePort), rules);
  }

  #guarded(then: string, isNodePort: boolean, isGuarded: boolean): string {
    if (!isGuarded) return then;
    const layout = layoutOf(this.#options.family);
    return this.#planChain(guardChain(then), () => guardRules(then, { isNodePort, layout }));
  }
}

/**
 * As `endpointText`, in one piece: V8 keeps a template's pieces as a tree, which with the text that it becomes when it's read is nearly twice the
 * memory, and there are as many as endpoints.
 */
function flatText({ ip, port }: Endpoint): string {
  return ip.includes(':') ? ['[', ip, ']:', port].join('') : [ip, port].join(':');
}

function addressesOf(endpoints: readonly Endpoint[]): readonly string[] {
  return [...new Set(endpoints.map(({ ip }) => ip))].toSorted();
}

/** The list under its name, if there is anything in it. */
function some<K extends string>(name: K, list: readonly string[]): { readonly [N in K]?: readonly string[] } {
  return list.length === 0 ? {} : ({ [name]: list } as { [N in K]: readonly string[] });
}
