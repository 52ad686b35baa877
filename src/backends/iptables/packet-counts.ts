import { ExecError, run as runProgram } from '../../linux/exec.ts';
import type { PacketCounts } from '../../metric-readings.ts';
import type { IptablesIO } from './apply.ts';
import type { IptablesObject, Table } from './objects.ts';

/** A scrape waits for it. */
const TIMEOUT_MS = 5000;
const LOCK_SECONDS = 1;

interface Counted {
  readonly table: Table;
  readonly rule: RegExp;
}

/** Which rules are counted; each is looked for in the chain that it is planned for. */
const COUNTED: Readonly<Record<keyof PacketCounts, Counted>> = {
  invalidDropped: { table: 'filter', rule: /--ctstate INVALID\b.*-j DROP$/ },
  localhostNodePorts: { table: 'nat', rule: /^-s 127\.0\.0\.0\/8 .*--ctstate DNAT$/ },
};

/**
 * The packets that the rules of `shared` (see planShared) have met, from the kernel's counters. One chain is read, not a table of
 * tens of thousands of rules; what has no rule isn't there. Undefined when the tool can't say now: another program has the lock.
 */
export async function readPacketCounts(
  shared: Iterable<IptablesObject>,
  { tools, run = runProgram }: Pick<IptablesIO, 'tools' | 'run'>,
): Promise<PacketCounts | undefined> {
  const objects = [...shared];
  const counts: Partial<Record<keyof PacketCounts, number>> = {};
  try {
    for (const [name, { table, rule }] of Object.entries(COUNTED) as [keyof PacketCounts, Counted][]) {
      const chain = chainWith(objects, table, rule);
      if (chain === undefined) continue;
      const args = ['-w', String(LOCK_SECONDS), '-t', table, '-v', '-S', chain];
      const { stdout } = await run(tools.program, args, { timeoutMs: TIMEOUT_MS });
      counts[name] = packetsIn(stdout, rule);
    }
    return counts;
  } catch (error) {
    if (error instanceof ExecError) return undefined;
    throw error;
  }
}

function chainWith(objects: readonly IptablesObject[], table: Table, rule: RegExp): string | undefined {
  for (const object of objects) {
    if (object.table !== table) continue;
    if (object.kind === 'chain' && object.rules.split('\n').some(text => rule.test(text))) return object.name;
    if (object.kind === 'rule' && rule.test(object.rule)) return object.chain;
  }
  return undefined;
}

/** Of lines such as `-A KUBE-FORWARD -m conntrack --ctstate INVALID -c 12 720 -j DROP`. */
export function packetsIn(listing: string, rule: RegExp): number {
  let packets = 0;
  for (const line of listing.split('\n')) {
    const [, before = '', count, after = ''] = /^-A \S+ (.*?)-c (\d+) \d+(?: (-j .*))?$/.exec(line.trimEnd()) ?? [];
    if (count !== undefined && rule.test((before + after).trim())) packets += Number(count);
  }
  return packets;
}
