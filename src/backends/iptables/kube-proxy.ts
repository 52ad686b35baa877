/** What kube-proxy leaves in its iptables mode: the chains that our mode has too, and its canaries. */
import { servicePortKey } from '../../endpoints/types.ts';
import { ExecError, run as runProgram } from '../../linux/exec.ts';
import type { KubeProxyRules, KubeProxyTraces } from '../../take-over/kube-proxy-rules.ts';
import type { IPFamily } from '../../watch/objects.ts';
import type { NodePortAddresses } from '../node-options.ts';
import { type IptablesIO, restore } from './apply.ts';
import { CHAIN } from './names.ts';
import type { IptablesObject } from './objects.ts';
import { groupByOwner } from './owners.ts';
import { readExisting } from './read.ts';
import { masqueradeBitOf } from './shared-rules.ts';
import { FAMILIES, type IptablesTools, toolsOf, VARIANTS } from './tools.ts';

/** An empty chain in each table, by which kube-proxy (1.17 on) notices that somebody flushed them. Nobody else makes it. */
const CANARY = 'KUBE-PROXY-CANARY';
const TABLES = ['mangle', 'nat', 'filter'];
const TIMEOUT_MS = 60_000;

type Run = Pick<IptablesIO, 'run'>;

export const IPTABLES_KUBE_PROXY: KubeProxyTraces = {
  areShared: true,
  find: () => find(),
  read: family => read(family),
  remove: (family, options) => remove(family, options),
};

/** Where its canary is; but our own chain beside it, which only IPv4 has, says that we adopted the rules of both families. */
export async function find(io: Run = {}): Promise<readonly IPFamily[]> {
  const found: IPFamily[] = [];
  for (const tools of canaryCandidates()) {
    if ((await has(CANARY, tools, 'mangle', io)) && !found.includes(tools.family)) found.push(tools.family);
  }
  if (found.length === 0) return [];
  for (const variant of VARIANTS) if (await has(CHAIN.localnet, toolsOf(variant, 'IPv4'), 'filter', io)) return [];
  return found;
}

/** Of the variant that has its canary. */
export async function read(family: IPFamily, io: Run = {}): Promise<KubeProxyRules | undefined> {
  for (const tools of canaryCandidates(family)) {
    if (!(await has(CANARY, tools, 'mangle', io))) continue;
    const { plan } = await readExisting({ ...io, tools });
    const jumps = nodePortJumps(plan.values());
    return {
      layout: 'iptables',
      services: new Set([...groupByOwner(plan.values()).owned.values()].map(({ name }) => servicePortKey(name))),
      nodePortAddresses: addressesOf(jumps),
      hasLocalhostNodePorts: family === 'IPv4' && jumps.some(jump => jump === '' || /^-d 127\./.test(jump)),
      masqueradeBit: masqueradeBitOf(plan),
    };
  }
  return undefined;
}

/** The canaries of both variants. */
export async function remove(
  family: IPFamily,
  { log, signal, run }: Parameters<KubeProxyTraces['remove']>[1] & Run,
): Promise<void> {
  const io = run === undefined ? {} : { run };
  for (const tools of canaryCandidates(family)) {
    if (!(await has(CANARY, tools, 'mangle', io))) continue;
    // Declared before it is deleted: so it is no error where there is none.
    const sections = TABLES.map(table => `*${table}\n:${CANARY} - [0:0]\n-X ${CANARY}\nCOMMIT\n`);
    await restore(sections.join(''), { io: { ...io, tools, log }, ...(signal && { signal }) });
    log.info({ family }, `kube-proxy's canary chains in iptables-${tools.variant}: removed`);
  }
}

function canaryCandidates(family?: IPFamily): IptablesTools[] {
  const all = VARIANTS.flatMap(variant => FAMILIES.map(candidate => toolsOf(variant, candidate)));
  return all.filter(tools => family === undefined || tools.family === family);
}

/** Whether a table has a chain. Of legacy all tables are asked: with `-t` it would load one that isn't there. */
async function has(chain: string, tools: IptablesTools, table: string, { run = runProgram }: Run): Promise<boolean> {
  const args = tools.variant === 'nft' ? ['-t', table] : [];
  let isThere = false;
  let rest = '';
  const onOutput = (chunk: Buffer) => {
    const text = rest + chunk.toString('latin1');
    isThere ||= text.includes(`\n:${chain} `);
    rest = text.slice(-chain.length - 3);
  };
  try {
    await run(tools.save, args, { timeoutMs: TIMEOUT_MS, onOutput });
    return isThere;
  } catch (error) {
    if (error instanceof ExecError) return false; // no such program, or no such table
    throw error;
  }
}

/** What KUBE-SERVICES' jumps to KUBE-NODEPORTS match beside an address of this node: '' = any of them. */
function nodePortJumps(objects: Iterable<IptablesObject>): string[] {
  return [...objects].flatMap(object => {
    if (object.kind !== 'rule' || object.table !== 'nat' || object.chain !== CHAIN.services) return [];
    if (!object.rule.endsWith(`-j ${CHAIN.nodePorts}`)) return [];
    return [/^(?:! )?-d \S+/.exec(object.rule)?.[0] ?? ''];
  });
}

function addressesOf(jumps: readonly string[]): NodePortAddresses {
  const isAll = jumps.some(jump => !jump.startsWith('-d '));
  return isAll ? 'all' : jumps.map(jump => jump.slice('-d '.length)).toSorted();
}
