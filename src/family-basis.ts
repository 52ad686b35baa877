import type { OptionsSource } from './backends/family-backend.ts';

import type { NodeFacts } from './endpoints/types.ts';

/** What all rules of a family depend on beside Services and endpoints. */
export interface Basis<Options> {
  readonly options: Options;
  readonly facts: NodeFacts;
}

/** A line for each thing that changed. */
export function basisChanges<Options>(
  before: Basis<Options>,
  after: Basis<Options>,
  source: Pick<OptionsSource<Options>, 'changes'>,
): readonly string[] {
  const zone = ({ facts }: Basis<Options>) => (facts.zone === '' ? 'none' : facts.zone);
  const server = ({ facts }: Basis<Options>) => facts.ownServer?.service ?? 'none';
  const allowed = ({ facts }: Basis<Options>) => facts.allowedExternalIPs?.join(', ') ?? 'any';
  return [
    ...source.changes(before.options, after.options),
    ...(zone(before) === zone(after) ? [] : [`zone of this node: ${zone(before)} → ${zone(after)}`]),
    ...(server(before) === server(after)
      ? []
      : [`served by this program itself: ${server(before)} → ${server(after)}`]),
    ...(allowed(before) === allowed(after) ? [] : [`external IPs may be of: ${allowed(before)} → ${allowed(after)}`]),
  ];
}
