/** What kube-proxy 1.31 to 1.36 leaves in its nftables mode: the tables `ip kube-proxy` and `ip6 kube-proxy`. */
import { type NftKernel, NftSocket } from '../../linux/nf-tables.ts';
import { NetlinkError } from '../../linux/nfnetlink.ts';
import { addressText } from '../../net/address-bytes.ts';
import { attributeList, attributesIn, type Message, readHostWord, textOf } from '../../netfilter/attributes.ts';
import { readData } from '../../netfilter/expressions.ts';
import { readSet } from '../../netfilter/message-reading.ts';
import { NFT } from '../../netfilter/messages.ts';
import type { KubeProxyRules, KubeProxyTraces } from '../../take-over/kube-proxy-rules.ts';
import type { IPFamily } from '../../watch/objects.ts';
import { dump, untilWhole, wholeSet } from './dumps.ts';
import { layoutOf } from './packet.ts';
import { removeTable } from './removal.ts';

const TABLE = 'kube-proxy';
/** Maps whose elements have `namespace/name:port` for their comment, and where in their keys the protocol is: behind an address, or first. */
const BY_ADDRESS = ['service-ips', 'no-endpoint-services'];
const BY_NODE_PORT = ['service-nodeports', 'no-endpoint-nodeports'];
/** There unless every address takes NodePorts. */
const NODE_PORT_IPS = 'nodeport-ips';
const MARKING_CHAIN = 'mark-for-masquerade';
const PROTOCOLS: Readonly<Record<number, string>> = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' };

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

export const NFTABLES_KUBE_PROXY: KubeProxyTraces = { areShared: false, find, read, remove };

async function find(): Promise<readonly IPFamily[]> {
  using kernel = new NftSocket();
  const found: IPFamily[] = [];
  try {
    for (const family of FAMILIES) if (await hasTable(kernel, family)) found.push(family);
    return found;
  } catch (error) {
    if (error instanceof NetlinkError) return found; // no nf_tables here
    throw error;
  }
}

async function hasTable(kernel: NftKernel, family: IPFamily): Promise<boolean> {
  const tables = await untilWhole(() => dump(kernel, { type: NFT.getTable, family, table: TABLE }));
  return tables.some(message => message.family === layoutOf(family).protocol && tableOf(message) === TABLE);
}

async function read(family: IPFamily): Promise<KubeProxyRules | undefined> {
  using kernel = new NftSocket();
  return await untilWhole(() => readTable(kernel, family));
}

async function readTable(kernel: NftKernel, family: IPFamily): Promise<KubeProxyRules | undefined> {
  const ask = (type: number) => dump(kernel, { type, family, table: TABLE });
  const sets = (await ask(NFT.getSet)).filter(isOf(family)).map(message => readSet(message).name);
  if (sets.length === 0) return undefined;
  const has = (set: string) => wholeSet(kernel, { family, table: TABLE, set });
  const services = new Set<string>();
  for (const set of [...BY_ADDRESS, ...BY_NODE_PORT]) {
    const at = BY_ADDRESS.includes(set) ? layoutOf(family).address.bytes : 0;
    for (const { key, comment } of await has(set)) services.add(`${comment}/${PROTOCOLS[key[at]!]}`);
  }
  const addresses = (await has(NODE_PORT_IPS)).map(({ key }) => addressText(key));
  const rules = (await ask(NFT.getRule)).filter(isOf(family));
  return {
    layout: 'nftables',
    services,
    nodePortAddresses: sets.includes(NODE_PORT_IPS) ? addresses.toSorted() : 'all',
    hasLocalhostNodePorts: false,
    masqueradeBit: markedBit(rules),
  };
}

async function remove(family: IPFamily, { log }: Parameters<KubeProxyTraces['remove']>[1]): Promise<void> {
  using kernel = new NftSocket();
  if (await removeTable({ kernel, family, table: TABLE })) log.info({ family }, "kube-proxy's nftables table: removed");
}

/** The bit that the rule `mark set mark or BIT` sets. */
function markedBit(rules: readonly Message[]): number | undefined {
  for (const { payload } of rules) {
    const parts = attributesIn(payload);
    if (textOf(parts.get(2) ?? Buffer.alloc(0)) !== MARKING_CHAIN) continue;
    for (const [, expression] of attributeList(parts.get(4) ?? Buffer.alloc(0))) {
      const { 1: name = Buffer.alloc(0), 2: fields = Buffer.alloc(0) } = Object.fromEntries(attributesIn(expression));
      // NFTA_BITWISE_XOR
      const xor = textOf(name) === 'bitwise' ? attributesIn(fields).get(5) : undefined;
      const value = xor === undefined ? undefined : readData(xor);
      const bit = value instanceof Uint8Array ? Math.log2(readHostWord(value)) : undefined;
      if (Number.isInteger(bit)) return bit;
    }
  }
  return undefined;
}

/** Kernels differ in whether a dump is of one table or of all. */
function isOf(family: IPFamily): (message: Message) => boolean {
  return message => message.family === layoutOf(family).protocol && tableOf(message) === TABLE;
}

function tableOf({ payload }: Message): string {
  return textOf(attributesIn(payload).get(1) ?? Buffer.alloc(0));
}
