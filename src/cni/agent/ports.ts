/** Which of the hostPorts that are asked for an attachment gets. */
import { type IPFamily, ipFamily } from '../../net/ip.ts';
import { type AttachmentId, attachmentKey, type HostPort, hostPortText } from '../types.ts';
import type { AgentParts } from './parts.ts';

export interface GrantedPorts {
  readonly hostPorts: readonly HostPort[];
  /** Why others are left out. */
  readonly warnings: readonly string[];
}

/**
 * One at an address of a family that the pod hasn't leads nowhere. Of several networks of one container, all of which runtimes hand the same list, the first has the
 * port. Both are said, and left out. What another container has is for the store to refuse.
 */
export function grantPorts(
  { store }: Pick<AgentParts, 'store'>,
  {
    id,
    asked,
    families,
  }: { readonly id: AttachmentId; readonly asked: readonly HostPort[]; readonly families: ReadonlySet<IPFamily> },
): GrantedPorts {
  const problemOf = (port: HostPort): string | undefined => {
    if (port.hostIP === '' ? families.size === 0 : !families.has(ipFamily(port.hostIP)))
      return `the pod has no address${port.hostIP === '' ? '' : ' of that family'}, so nothing leads to it`;
    const holder = store.holderOfPort(port, families);
    if (holder?.id.containerID !== id.containerID) return undefined;
    return `${attachmentKey(holder.id)} has it, another interface of the same container`;
  };
  const found = asked.map(port => ({ port, problem: problemOf(port) }));
  return {
    hostPorts: found.filter(({ problem }) => problem === undefined).map(({ port }) => port),
    warnings: found
      .filter(({ problem }) => problem !== undefined)
      .map(({ port, problem }) => `hostPort ${hostPortText(port)}: ${problem}`),
  };
}
