import { iptablesOptionChanges } from './backends/iptables/options.ts';
import type { IptablesOptions } from './backends/iptables/rules.ts';
import type { NodeFacts } from './endpoints/types.ts';

/** What all rules of a family depend on beside Services and endpoints. */
export interface Basis {
  readonly iptables: IptablesOptions;
  readonly facts: NodeFacts;
}

/** A line for each thing that changed. */
export function basisChanges(before: Basis, after: Basis): readonly string[] {
  const zone = ({ facts }: Basis) => (facts.zone === '' ? 'none' : facts.zone);
  const allowed = ({ facts }: Basis) => facts.allowedExternalIPs?.join(', ') ?? 'any';
  return [
    ...iptablesOptionChanges(before.iptables, after.iptables),
    ...(zone(before) === zone(after) ? [] : [`zone of this node: ${zone(before)} → ${zone(after)}`]),
    ...(allowed(before) === allowed(after) ? [] : [`external IPs may be of: ${allowed(before)} → ${allowed(after)}`]),
  ];
}
