import { ExecError, run as runProgram } from '../../linux/exec.ts';
import type { ServiceCount } from '../../service-metrics.ts';
import type { IptablesIO } from './apply.ts';
import { CHAIN } from './names.ts';
import type { Table } from './objects.ts';
import { parseRule } from './rule-fields.ts';

/** A scrape waits for it; the largest of the chains has an entry for each address of each Service. */
const TIMEOUT_MS = 10_000;
const LOCK_SECONDS = 1;

/** The chains that all Services share: what takes a Service's connections, and what refuses them. */
const CHAINS: readonly (readonly [Table, string])[] = [
  ['nat', CHAIN.services],
  ['nat', CHAIN.nodePorts],
  ['filter', CHAIN.services],
  ['filter', CHAIN.externalServices],
  ['filter', CHAIN.proxyFirewall],
];

/** What the comments of entries say behind the Service's name, and what is counted there. */
const MEANINGS: readonly (readonly [RegExp, Pick<ServiceCount, 'kind' | 'what'>])[] = [
  [/^cluster IP$/, { kind: 'connections', what: 'clusterIP' }],
  [/^external IP$/, { kind: 'connections', what: 'externalIP' }],
  [/^loadbalancer IP$/, { kind: 'connections', what: 'loadBalancerIP' }],
  [/^$/, { kind: 'connections', what: 'nodePort' }],
  [/^has no endpoints$/, { kind: 'refused', what: 'no endpoints' }],
  [/^has no local endpoints$/, { kind: 'refused', what: 'no local endpoints' }],
  [/^traffic not accepted by /, { kind: 'refused', what: 'source ranges' }],
];

/**
 * What the entries of each Service have met since they were written, from the kernel's counters. nat sees the first packet of a connection (a flow, for
 * UDP) only, so its counters count connections. Undefined when the tool can't say now: another program has the lock.
 */
export async function readServiceCounts({
  tools,
  run = runProgram,
}: Pick<IptablesIO, 'tools' | 'run'>): Promise<ServiceCount[] | undefined> {
  try {
    const counts: ServiceCount[] = [];
    for (const [table, chain] of CHAINS) {
      const args = ['-w', String(LOCK_SECONDS), '-t', table, '-v', '-S', chain];
      const { stdout } = await run(tools.program, args, { timeoutMs: TIMEOUT_MS });
      counts.push(...countsIn(stdout));
    }
    return counts;
  } catch (error) {
    if (error instanceof ExecError) return undefined;
    throw error;
  }
}

/** Of lines such as `-A KUBE-SERVICES -d 10.96.0.80/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -c 12 720 -j KUBE-SVC-…`. */
export function* countsIn(listing: string): Iterable<ServiceCount> {
  for (const line of listing.split('\n')) {
    const [, packets] = / -c (\d+) \d+(?: -j |$)/.exec(line) ?? [];
    if (packets === undefined) continue;
    const { comment, protocol } = parseRule(line.slice(line.indexOf(' ', 3) + 1));
    const [, namespace, service, port = '', said = ''] =
      /^([^/\s]+)\/([^:\s]+)(?::(\S+))?(?: (.*))?$/.exec(comment) ?? [];
    const meaning = MEANINGS.find(([text]) => text.test(said))?.[1];
    if (namespace === undefined || service === undefined || meaning === undefined) continue;
    yield { namespace, service, port, protocol: protocol.toUpperCase(), ...meaning, count: Number(packets) };
  }
}
