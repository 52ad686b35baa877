/** What bridges and ports of pods that live are to be like, for whoever looks after them. Pure. */
import type { Attachment } from '../ipam/attachment.ts';
import { isInTheWay } from '../wiring/bridge.ts';
import type { LinkSpec } from '../wiring/specs.ts';
import { configOf, linkSpecOf } from './plan.ts';

/** Of gateways that took each other's place (forceAddress) the last one holds. What others gave a bridge since is in nobody's way. */
export function standingSpecs(attachments: readonly Attachment[]): readonly LinkSpec[] {
  const specs = attachments
    .toSorted((one, other) => one.createdAt - other.createdAt)
    .flatMap(attachment => {
      const kept = configOf(attachment);
      return kept?.role === 'link' && attachment.state === 'ready' ? [linkSpecOf(attachment, kept)] : [];
    });
  const held = new Map<string, ReadonlySet<string>>();
  for (const spec of specs) held.set(holderOf(spec), gatewaysWith(held.get(holderOf(spec)) ?? new Set(), spec));
  return specs.map(spec => {
    const { bridge } = spec;
    if (bridge === undefined) return spec;
    const gateways = bridge.gateways.filter(gateway => held.get(holderOf(spec))!.has(gateway));
    return { ...spec, bridge: { ...bridge, gateways, forceAddress: false, keepsOthers: true } };
  });
}

const holderOf = ({ bridge, vlan = 0 }: LinkSpec) => `${bridge?.name} ${vlan}`;

function gatewaysWith(before: ReadonlySet<string>, { bridge }: LinkSpec): ReadonlySet<string> {
  const gateways = bridge?.gateways ?? [];
  // Pods of one network have the same ones.
  if (gateways.every(gateway => before.has(gateway))) return before;
  const isForced = bridge?.forceAddress === true && bridge.keepsOthers !== true;
  const stays = (address: string) => !isForced || !gateways.some(gateway => isInTheWay(address, gateway));
  return new Set([...[...before].filter(stays), ...gateways]);
}
