/**
 * Limits of a pod's traffic, in bits as CNI has them: what goes to it waits in the queue of the host's end, what it sends in that of an ifb device to which
 * it is redirected when it comes in, as the reference plugin does. Neither is in the pod's reach.
 */
import type { RouteKernel } from '../../linux/route-socket.ts';
import { changeLink, IFF, newIfb } from '../../rtnetlink/links.ts';
import { newTokenBucket, redirectIncoming, type TokenBucket } from '../../rtnetlink/traffic-control.ts';
import { type Bandwidth, CniError, CODE } from '../types.ts';
import { findLink } from './links.ts';
import { shaperOf } from './names.ts';

/** What container runtimes send as "no matter" would let gigabytes through before the limit counts. */
const ABSURD_BURST = 0xffff_ffff;
const BURST_SECONDS = 0.01;
const LEAST_PACKETS = 10;
/** Of waiting in the queue. */
const LATENCY_SECONDS = 0.025;
const ETHERNET = 14;

/** Bits to bytes, with a burst of ours where none is given or it is absurd; a packet of the MTU always fits. */
export function bucketOf(rate: number, burst: number, mtu: number): TokenBucket {
  const bytes = Math.max(1, Math.ceil(rate / 8));
  const own = Math.max(bytes * BURST_SECONDS, LEAST_PACKETS * (mtu + ETHERNET));
  const given = burst > 0 && burst < ABSURD_BURST ? Math.max(burst / 8, mtu + ETHERNET) : own;
  const most = Math.ceil(given);
  return { rate: bytes, burst: most, limit: Math.ceil(bytes * LATENCY_SECONDS) + most };
}

interface Shaped {
  readonly hostLink: string;
  readonly alias: string;
  readonly index: number;
  readonly mtu: number;
}

/** @throws NetlinkError */
export function limitBandwidth(
  route: RouteKernel,
  bandwidth: Bandwidth,
  { hostLink, alias, index, mtu }: Shaped,
): void {
  const { ingressRate, ingressBurst, egressRate, egressBurst } = bandwidth;
  if (ingressRate > 0) route.send([newTokenBucket(index, bucketOf(ingressRate, ingressBurst, mtu))]);
  if (egressRate === 0) return;
  const name = shaperOf(hostLink);
  route.send([newIfb(name, mtu), changeLink(name, { alias })]);
  const shaper = findLink(route, name);
  if (shaper === undefined) throw new CniError(CODE.kernel, `${name} was removed while it was made`);
  route.send([
    newTokenBucket(shaper.index, bucketOf(egressRate, egressBurst, mtu)),
    changeLink(shaper.index, { set: IFF.up }),
    ...redirectIncoming(index, shaper.index),
  ]);
}
