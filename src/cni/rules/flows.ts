/** The connection table's entries of pods that go, and of hostPorts that get another pod. */
import { readFile } from 'node:fs/promises';
import { frontendKey } from '../../backends/nftables/objects.ts';
import { nodeAddresses } from '../../linux/addresses.ts';
import { type Sweep, type SweepResult, sweepFlows } from '../../linux/conntrack.ts';
import { type Flow, type FlowFilter, UDP } from '../../linux/conntrack-messages.ts';
import { type IPFamily, ipFamily, isUnspecified } from '../../net/ip.ts';
import type { HostPort } from '../types.ts';

export interface PodFlowsOptions {
  readonly sweep?: (sweep: Sweep) => Promise<SweepResult>;
  /** How many entries this network namespace has; undefined = unknown. */
  readonly count?: () => Promise<number | undefined>;
  /** This node's addresses, canonical. */
  readonly localAddresses?: () => readonly string[];
}

export interface GoneFlows {
  /** Canonical: every entry that has one of them at either end, in either direction. */
  readonly addresses: readonly string[];
  /** Entries of clients that came to one of them at an address of this node. */
  readonly hostPorts: readonly Pick<HostPort, 'hostIP' | 'hostPort' | 'protocol'>[];
}

const COUNT_FILE = '/proc/sys/net/netfilter/nf_conntrack_count';
const NUMBERS: Readonly<Record<HostPort['protocol'], number>> = { tcp: 6, udp: UDP, sctp: 132 };
const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

/** Calls that are made while a walk through the table is under way share the next one. */
export class PodFlows {
  readonly #sweep: NonNullable<PodFlowsOptions['sweep']>;
  readonly #count: NonNullable<PodFlowsOptions['count']>;
  readonly #localAddresses: NonNullable<PodFlowsOptions['localAddresses']>;
  #waiting: GoneFlows[] = [];
  #next: Promise<number> | undefined;
  #walk: Promise<unknown> = Promise.resolve();

  constructor({ sweep = sweepFlows, count = countFlows, localAddresses = nodeAddresses }: PodFlowsOptions = {}) {
    this.#sweep = sweep;
    this.#count = count;
    this.#localAddresses = localAddresses;
  }

  /**
   * Deletes the entries; resolves to how many there were of all who share the walk. On DEL after the pod's rules are gone, with all its addresses and hostPorts; on ADD once its
   * rules are there, with its UDP hostPorts, whose clients the kernel goes on sending where they were sent before. @throws NetlinkError
   */
  flush(gone: GoneFlows): Promise<number> {
    if (gone.addresses.length + gone.hostPorts.length === 0) return Promise.resolve(0);
    this.#waiting.push(gone);
    this.#next ??= this.#after(this.#walk);
    return this.#next;
  }

  #after(walk: Promise<unknown>): Promise<number> {
    const next = walk.then(async () => {
      const work = this.#waiting;
      this.#waiting = [];
      this.#next = undefined;
      return this.#pass(work);
    });
    this.#walk = next.catch(() => undefined);
    return next;
  }

  async #pass(work: readonly GoneFlows[]): Promise<number> {
    if ((await this.#count()) === 0) return 0;
    const gone = {
      addresses: work.flatMap(({ addresses }) => addresses),
      hostPorts: work.flatMap(({ hostPorts }) => hostPorts),
    };
    const isStale = staleJudge(gone, this.#localAddresses());
    let deleted = 0;
    for (const filter of filtersFor(gone)) deleted += (await this.#sweep({ filter, isStale })).deleted;
    return deleted;
  }
}

/** One walk; of UDP alone where that is enough, which the kernel can tell apart within a family. */
export function filtersFor({ addresses, hostPorts }: GoneFlows): FlowFilter[] {
  const families = FAMILIES.filter(
    family =>
      addresses.some(ip => ipFamily(ip) === family) ||
      hostPorts.some(({ hostIP }) => hostIP === '' || ipFamily(hostIP) === family),
  );
  const isUdpOnly = addresses.length === 0 && hostPorts.every(({ protocol }) => protocol === 'udp');
  if (isUdpOnly) return families.map(family => ({ family, protocol: UDP }));
  const [family] = families;
  return families.length > 1 || family === undefined ? [{ family: 'both' }] : [{ family }];
}

/** Tells the entries to delete; `local` are the node's addresses. */
export function staleJudge({ addresses, hostPorts }: GoneFlows, local: readonly string[]): (flow: Flow) => boolean {
  const [gone, here] = [new Set(addresses), new Set(local)];
  const places = new Set(
    hostPorts.map(({ hostIP, hostPort, protocol }) => {
      const ip = hostIP === '' || isUnspecified(hostIP) ? '' : hostIP;
      return frontendKey({ ip, port: hostPort, protocol: String(NUMBERS[protocol]) });
    }),
  );
  return ({ original, reply }) => {
    if (
      gone.size > 0 &&
      [original.source, original.destination, reply.source, reply.destination].some(ip => gone.has(ip))
    )
      return true;
    if (places.size === 0 || !here.has(original.destination)) return false;
    const [port, protocol] = [original.destinationPort, String(original.protocol)];
    return ['', original.destination].some(ip => places.has(frontendKey({ ip, port, protocol })));
  };
}

/** Costs nothing beside a walk through a table of hundreds of thousands of buckets. Without conntrack there is no such file, and no entry. */
async function countFlows(): Promise<number | undefined> {
  try {
    return Number(await readFile(COUNT_FILE, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0;
    throw error;
  }
}
