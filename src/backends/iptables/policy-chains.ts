import { reachableEndpoints } from '../../endpoints/categorize.ts';
import { isExternallyAccessible } from '../../endpoints/service-ports.ts';
import { type Endpoint, endpointText, type ServiceRoute } from '../../endpoints/types.ts';
import { CHAIN, clusterPolicyChain, externalChain, localPolicyChain } from './names.ts';
import { chain, type IptablesObject } from './objects.ts';
import {
  destinationPort,
  FROM_NODE,
  host,
  type IptablesOptions,
  ifLocal,
  ifNotLocal,
  isRemembered,
  probability,
  type RuleParts,
  remember,
  rule,
  target,
} from './rules.ts';
import type { Subject } from './subject.ts';

export function planEndpoint(
  endpoint: Endpoint,
  { port, text, protocol, chainOf, listOf }: Subject,
  { family }: IptablesOptions,
): IptablesObject {
  const name = chainOf(endpoint);
  const hasAffinity = port.affinityTimeoutSeconds > 0;
  return chain('nat', name, [
    // Hairpin: a pod that reaches itself must see another source, or its answer would not pass the NAT again.
    rule({ source: host(endpoint.ip), comment: text, jump: CHAIN.markMasq }),
    rule({
      protocol,
      comment: text,
      matches: [...(hasAffinity ? [remember(listOf(endpoint), family)] : []), `-m ${protocol}`],
      jump: `DNAT --to-destination ${target(endpoint)}`,
    }),
  ]);
}

/** The chains that choose among endpoints, one per policy in use, and the one that outside traffic enters by. */
export function planPolicies(route: ServiceRoute, subject: Subject, options: IptablesOptions): IptablesObject[] {
  const { port, text, protocol } = subject;
  const chains: IptablesObject[] = [];
  const masquerade = port.clusterIP === '' ? [] : clusterIPMasquerade(subject, options);
  const { clusterEndpoints, localEndpoints } = route;
  if (clusterEndpoints.length > 0) {
    const first = port.isInternalLocal ? [] : masquerade;
    const rules = [...first, ...choice(clusterEndpoints, subject, options)];
    chains.push(chain('nat', clusterPolicyChain(text, protocol), rules));
  }
  if (localEndpoints.length > 0) {
    const first = port.isInternalLocal ? masquerade : [];
    const rules = [...first, ...choice(localEndpoints, subject, options)];
    chains.push(chain('nat', localPolicyChain(text, protocol), rules));
  }
  if (isExternallyAccessible(port) && reachableEndpoints(route).length > 0) {
    chains.push(chain('nat', externalChain(text, protocol), externalRules(route, subject, options)));
  }
  return chains;
}

/** Clients that aren't pods of this cluster get their source rewritten, or the endpoint would answer past this node. */
function clusterIPMasquerade({ port, text, protocol }: Subject, options: IptablesOptions): string[] {
  const { masqueradeAll, localDetector } = options;
  if (!masqueradeAll && localDetector.kind === 'none') return [];
  return [
    rule({
      ...(masqueradeAll ? {} : ifNotLocal(localDetector)),
      destination: host(port.clusterIP),
      protocol,
      comment: `${text} cluster IP`,
      matches: [destinationPort(protocol, port.port)],
      jump: CHAIN.markMasq,
    }),
  ];
}

/** Where a client was before, if affinity is asked for; else any endpoint. */
function choice(endpoints: readonly Endpoint[], subject: Subject, { family }: IptablesOptions): string[] {
  const { affinityTimeoutSeconds: seconds } = subject.port;
  const rules = endpoints.map(endpoint => endpointRule(endpoint, subject));
  if (seconds === 0) return spread(rules);
  const again = endpoints.map(endpoint =>
    rule({
      ...endpointRule(endpoint, subject),
      matches: [isRemembered(subject.listOf(endpoint), seconds, family)],
    }),
  );
  return [...again, ...spread(rules)];
}

function endpointRule(endpoint: Endpoint, { text, chainOf }: Subject): RuleParts {
  return { comment: `${text} -> ${endpointText(endpoint)}`, jump: chainOf(endpoint) };
}

/** Each of n rules is reached with equal probability: 1/n, then 1/(n-1) of the rest, and so on; the last takes what is left. */
function spread(rules: readonly RuleParts[]): string[] {
  return rules.map((parts, i) => {
    const left = rules.length - i;
    return left === 1 ? rule(parts) : rule({ ...parts, matches: [probability(1 / left)] });
  });
}

function externalRules(route: ServiceRoute, { port, text, protocol }: Subject, options: IptablesOptions): string[] {
  const cluster = clusterPolicyChain(text, protocol);
  if (!port.isExternalLocal) {
    const comment = `masquerade traffic for ${text} external destinations`;
    return [
      rule({ comment, jump: CHAIN.markMasq }),
      ...(route.clusterEndpoints.length > 0 ? [rule({ jump: cluster })] : []),
    ];
  }
  const rules: string[] = [];
  if (route.clusterEndpoints.length > 0) {
    // Pods and the node itself may use every endpoint: policy Local is for clients whose address it keeps.
    if (options.localDetector.kind !== 'none') {
      rules.push(
        rule({
          ...ifLocal(options.localDetector),
          comment: `pod traffic for ${text} external destinations`,
          jump: cluster,
        }),
      );
    }
    const matches = [FROM_NODE];
    rules.push(
      rule({ comment: `masquerade LOCAL traffic for ${text} external destinations`, matches, jump: CHAIN.markMasq }),
    );
    rules.push(rule({ comment: `route LOCAL traffic for ${text} external destinations`, matches, jump: cluster }));
  }
  if (route.localEndpoints.length > 0) rules.push(rule({ jump: localPolicyChain(text, protocol) }));
  return rules;
}
