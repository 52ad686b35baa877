/** The addresses of this node as people see them. Pure. */
import { placeOf } from '../../net/address-value.ts';
import { renderTable } from '../../text/table.ts';
import type { AttachmentId, PodName } from '../types.ts';
import { type Attachment, addressOf } from './attachment.ts';
import type { Rest } from './book.ts';

export interface Lease {
  readonly network: string;
  /** Canonical, without prefix length. */
  readonly address: string;
  /** A resting address was given back, and isn't given again yet; one of host-local was given by that, and is held until its pod goes. */
  readonly state: Attachment['state'] | 'resting' | 'host-local';
  /** '' and absent of a resting one. */
  readonly containerID: string;
  readonly ifname: string;
  readonly pod?: PodName;
  /** ISO 8601; '' = not known. */
  readonly since: string;
}

export interface LeaseSource {
  readonly attachments: Iterable<Attachment>;
  readonly rests: Iterable<Rest>;
  /** Both now, in milliseconds: of the clock that rests are measured with, and of the epoch. */
  readonly nowMs: number;
  readonly wallMs: number;
}

/** By network and address. What another IPAM plugin gave is its own matter. */
export function leasesOf({ attachments, rests, nowMs, wallMs }: LeaseSource): readonly Lease[] {
  const leases: Lease[] = [];
  for (const attachment of attachments) {
    if (attachment.isDelegated !== true) leases.push(...leasesOfAttachment(attachment));
  }
  for (const { network, ip, sinceMs } of rests) {
    const since = timeText(wallMs - (nowMs - sinceMs));
    leases.push({ network, address: ip, state: 'resting', containerID: '', ifname: '', since });
  }
  return inOrder(leases);
}

export function leasesOfAttachment(attachment: Attachment): readonly Lease[] {
  const { id, state, createdAt, addresses, pod, leaseFiles } = attachment;
  const common = {
    ...id,
    state: leaseFiles === undefined ? state : ('host-local' as const),
    since: createdAt > 0 ? timeText(createdAt) : '',
    ...(pod === undefined ? {} : { pod }),
  };
  return addresses.map(address => ({ ...common, address: addressOf(address) }));
}

export function idOfLease({ network, containerID, ifname }: Lease): AttachmentId {
  return { network, containerID, ifname };
}

export function renderLeases(leases: readonly Lease[]): string {
  const header = ['NETWORK', 'ADDRESS', 'POD', 'CONTAINER', 'INTERFACE', 'STATE', 'SINCE'];
  return renderTable([header, ...leases.map(cellsOf)]);
}

function cellsOf({ network, address, state, containerID, ifname, pod, since }: Lease): readonly string[] {
  const name = pod === undefined || pod.name === '' ? '-' : `${pod.namespace}/${pod.name}`;
  return [network, address, name, containerID.slice(0, 12) || '-', ifname || '-', state, since || '-'];
}

function inOrder(leases: readonly Lease[]): readonly Lease[] {
  const keyed = leases.map(lease => ({ lease, ...placeOf(lease.address) }));
  keyed.sort((a, b) => {
    if (a.lease.network !== b.lease.network) return a.lease.network < b.lease.network ? -1 : 1;
    if (a.family !== b.family) return a.family < b.family ? -1 : 1;
    return a.value < b.value ? -1 : Number(a.value > b.value);
  });
  return keyed.map(({ lease }) => lease);
}

function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString().replace(/\.\d+/, '');
}
