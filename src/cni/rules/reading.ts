/** What of the tables is in the kernel. */
import { isDeepStrictEqual } from 'node:util';
import { dump, elementsOf, findElement, untilWhole, wholeSet } from '../../backends/nftables/dumps.ts';
import type { NftFamily } from '../../backends/nftables/packet.ts';
import type { NftKernel } from '../../linux/nf-tables.ts';
import { NetlinkError } from '../../linux/nfnetlink.ts';
import { attributesIn, type Message, textOf } from '../../netfilter/attributes.ts';
import { commentOf } from '../../netfilter/message-reading.ts';
import { type Element, NFT } from '../../netfilter/messages.ts';
import { type HostPortElements, type RuleElement, readMacKey } from './elements.ts';
import type { Ledger } from './ledger.ts';
import { SETS, TABLE } from './names.ts';
import type { SourceChecks } from './rule-tables.ts';
import { tableSpec } from './tables.ts';

/** NFT_TABLE_F_DORMANT: no packet meets it. */
const DORMANT = 1;
/** EOPNOTSUPP, EAFNOSUPPORT: the kernel has no such family, and with it no table. */
const NO_FAMILY = new Set([95, 97]);

/** Whether a table of ours is there, in whatever state. */
export async function hasTable(kernel: NftKernel, family: NftFamily): Promise<boolean> {
  return (await ownTable(kernel, family)) !== undefined;
}

async function ownTable(kernel: NftKernel, family: NftFamily): Promise<Message | undefined> {
  try {
    const tables = await untilWhole(() => dump(kernel, { type: NFT.getTable, family, table: TABLE }));
    return tables.find(({ payload }) => textOf(attributesIn(payload).get(1) ?? Buffer.alloc(0)) === TABLE);
  } catch (error) {
    if (error instanceof NetlinkError && NO_FAMILY.has(error.errno)) return undefined;
    throw error;
  }
}

/** Whether a table is at work, of this release's form, and has all its rules, as far as the kernel's counts tell. Costs the same however many pods there are. */
export async function hasStructure(kernel: NftKernel, family: NftFamily): Promise<boolean> {
  const found = await ownTable(kernel, family);
  if (found === undefined) return false;
  const parts = attributesIn(found.payload);
  const comment = commentOf(parts.get(6));
  const { chains, comment: wanted } = tableSpec(family);
  if (((parts.get(2)?.readUInt32BE(0) ?? 0) & DORMANT) !== 0) return false;
  // Kernels before 5.10 don't keep it.
  if (comment !== undefined && comment !== wanted) return false;
  const rules = await untilWhole(() => dump(kernel, { type: NFT.getRule, family, table: TABLE }));
  const counts = new Map<string, number>();
  for (const { payload } of rules) {
    const parts = attributesIn(payload);
    if (textOf(parts.get(1) ?? Buffer.alloc(0)) !== TABLE) continue;
    const chain = textOf(parts.get(2) ?? Buffer.alloc(0));
    counts.set(chain, (counts.get(chain) ?? 0) + 1);
  }
  return (
    chains.every(({ name, rules: planned }) => counts.get(name) === planned.length) && counts.size === chains.length
  );
}

/** Whether the sets have exactly what the ledger says. */
export async function hasElements(kernel: NftKernel, family: NftFamily, ledger: Ledger): Promise<boolean> {
  const wanted = ledger.setsOf(family);
  for (const { spec } of tableSpec(family).sets) {
    const found = await untilWhole(() => elementsOf(kernel, { family, table: TABLE, set: spec.name }));
    if (!isDeepStrictEqual(textsOf(found), textsOf(wanted.get(spec.name) ?? []))) return false;
  }
  return true;
}

/** Which ranges of a family are others than the ledger's. */
export async function wrongRanges(kernel: NftKernel, family: NftFamily, ledger: Ledger): Promise<readonly string[]> {
  if (family === 'bridge') return [];
  const wrong: string[] = [];
  for (const [set, elements] of ledger.rangesOf(family)) {
    const found = await untilWhole(() => elementsOf(kernel, { family, table: TABLE, set }));
    if (!isDeepStrictEqual(textsOf(found), textsOf(elements))) wrong.push(set);
  }
  return wrong;
}

/** Whether the kernel has this element, with its data. */
export async function hasElement(kernel: NftKernel, { family, set, element }: RuleElement): Promise<boolean> {
  const found = await untilWhole(() => findElement(kernel, { family, table: TABLE, set }, element.key));
  return found !== undefined && textOfElement(found) === textOfElement(element);
}

/** All pods' hostPorts, whoever wrote them. */
export async function readHostPorts(kernel: NftKernel): Promise<HostPortElements> {
  const of = async (family: 'IPv4' | 'IPv6') => {
    if (!(await hasTable(kernel, family))) return [];
    return untilWhole(() => wholeSet(kernel, { family, table: TABLE, set: SETS.hostPorts }));
  };
  return { IPv4: await of('IPv4'), IPv6: await of('IPv6') };
}

/** Links whose frames' sources are checked, whoever wrote that. */
export async function readSourceChecks(kernel: NftKernel): Promise<SourceChecks> {
  const isThere = await hasTable(kernel, 'bridge');
  const keysOf = async (set: string) => {
    const place = { family: 'bridge', table: TABLE, set } as const;
    return isThere ? (await untilWhole(() => wholeSet(kernel, place))).map(({ key }) => key) : [];
  };
  return {
    macs: new Map((await keysOf(SETS.macs)).map(readMacKey)),
    ips: new Set((await keysOf(SETS.ipChecked)).map(textOf)),
  };
}

/** Of elements that the kernel tells twice, one; sorted. */
function textsOf(elements: readonly Element[]): readonly string[] {
  return [...new Set(elements.filter(element => !isNullEnd(element)).map(textOfElement))].sort();
}

function textOfElement({ key, keyEnd, isEnd, data }: Element): string {
  const value = data instanceof Uint8Array ? data.toString('hex') : '';
  return `${key.toString('hex')}${keyEnd === undefined ? '' : `-${keyEnd.toString('hex')}`}${isEnd === true ? ' end' : ''} ${value}`;
}

/** Others' tools begin a list of ranges with the end of none. */
function isNullEnd({ key, isEnd }: Element): boolean {
  return isEnd === true && key.every(byte => byte === 0);
}
