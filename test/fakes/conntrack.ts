import type { Sweep, SweepResult } from '../../src/linux/conntrack.ts';
import { type Flow, type FlowFilter, isWanted, UDP } from '../../src/linux/conntrack-messages.ts';

/** A UDP flow from a client to a destination, which `reply` answers: [address, port]; without it, nothing sent it on. */
export function udpFlow(
  destination: readonly [string, number],
  reply: readonly [string, number] = destination,
  fields: Partial<Flow> = {},
): Flow {
  const client = { source: destination[0].includes(':') ? 'fd00::c' : '10.244.1.9', sourcePort: 40_000 };
  const tuple = { protocol: UDP, zone: 0 };
  return {
    family: destination[0].includes(':') ? 'IPv6' : 'IPv4',
    id: 1,
    zone: 0,
    status: 8,
    original: { ...tuple, ...client, destination: destination[0], destinationPort: destination[1] },
    reply: {
      ...tuple,
      source: reply[0],
      sourcePort: reply[1],
      destination: client.source,
      destinationPort: client.sourcePort,
    },
    ...fields,
  };
}

/** A connection table: what it is asked for, and what is left. */
export class FakeConntrack {
  flows: Flow[] = [];
  readonly dumps: FlowFilter[] = [];
  /** What the next sweeps fail with. */
  failure: Error | undefined;
  /** When it's there, a sweep waits for it before it looks at each flow. */
  gate: Promise<void> | undefined;

  readonly sweep = async ({ filter, isStale, signal }: Sweep): Promise<SweepResult> => {
    signal?.throwIfAborted();
    this.dumps.push(filter);
    if (this.failure !== undefined) throw this.failure;
    const wanted = this.flows.filter(flow => isWanted(flow, filter));
    let deleted = 0;
    for (const flow of wanted) {
      await this.gate;
      signal?.throwIfAborted();
      if (!isStale(flow)) continue;
      this.flows = this.flows.filter(other => other !== flow);
      deleted += 1;
    }
    return { seen: wanted.length, deleted };
  };
}
