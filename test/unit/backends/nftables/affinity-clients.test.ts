import { describe, expect, it } from 'vitest';
import { endpointBytes, endpointOfBytes } from '../../../../src/backends/nftables/bytes.ts';
import { elementsOf } from '../../../../src/backends/nftables/dumps.ts';
import { affinityMap, TABLE } from '../../../../src/backends/nftables/names.ts';
import { layoutOf } from '../../../../src/backends/nftables/packet.ts';
import { addressBytes } from '../../../../src/net/address-bytes.ts';
import { type Message, MessageWriter } from '../../../../src/netfilter/attributes.ts';
import { BatchWriter, NFT } from '../../../../src/netfilter/messages.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';
import { endpoint, servicePort } from '../../../fakes/objects.ts';
import { Node, routeTo } from './node.ts';

const PODS = [1, 2, 3].map(i => endpoint(`10.244.0.${i}`));
const STICKY = { affinityTimeoutSeconds: 60 };
const MAP = affinityMap(servicePort().name);

/** As the rule that remembers clients does. */
async function learn(
  { kernel }: Node,
  clients: readonly (readonly [client: string, endpoint: string])[],
): Promise<void> {
  const out = new MessageWriter(4096);
  const batch = new BatchWriter(out, { family: layoutOf('IPv4').protocol, table: TABLE, sequence: 0 });
  batch.beginBatch();
  const list = batch.beginElements(NFT.newElement, MAP);
  for (const [client, to] of clients) batch.element({ key: addressBytes(client), data: endpointBytes(to) });
  batch.endElements(list);
  batch.endBatch();
  expect(await kernel.commit(out.bytes())).toEqual([]);
}

async function remembered({ kernel }: Node): Promise<string[]> {
  const elements = await elementsOf(kernel, { family: 'IPv4', table: TABLE, set: MAP });
  return elements.map(({ key, data }) => `${key.join('.')} ${endpointOfBytes(data as Buffer)}`).toSorted();
}

const CLIENTS = [
  ['192.0.2.1', '10.244.0.1:8080'],
  ['192.0.2.2', '10.244.0.2:8080'],
  ['192.0.2.3', '10.244.0.3:8080'],
  ['192.0.2.4', '10.244.0.1:8080'],
] as const;
const ALL = CLIENTS.map(pair => pair.join(' '));

/** Tells of elements otherwise than they are. */
class UnsteadyNfTables extends FakeNfTables {
  readonly #listing: (messages: readonly Message[], count: number) => readonly Message[];
  #listings = 0;

  constructor(listing: (messages: readonly Message[], count: number) => readonly Message[]) {
    super();
    this.#listing = listing;
  }

  override async dump(request: Buffer): Promise<readonly Message[]> {
    const messages = await super.dump(request);
    if (messages.length === 0 || messages[0]!.type !== NFT.newElement) return messages;
    this.#listings += 1;
    return this.#listing(messages, this.#listings);
  }
}

async function nodeWithClients(kernel = new FakeNfTables()): Promise<Node> {
  const node = new Node('IPv4', kernel);
  expect(await node.set(routeTo(PODS, STICKY))).toEqual([]);
  await learn(node, CLIENTS);
  return node;
}

describe('clients', () => {
  it('are forgotten with their endpoint, and no others', async () => {
    const node = await nodeWithClients();
    expect(await node.set(routeTo(PODS.slice(1), STICKY))).toEqual([]);
    expect(await remembered(node)).toEqual(ALL.slice(1, 3));
  });

  it('are forgotten also where a listing leaves one out, as one before it expires meanwhile', async () => {
    const node = await nodeWithClients(
      new UnsteadyNfTables((messages, count) => (count === 1 ? messages.slice(0, -1) : messages)),
    );
    await node.set(routeTo(PODS.slice(1), STICKY));
    expect(await remembered(node)).toEqual(ALL.slice(1, 3));
  });

  it('are forgotten also where each listing tells of some twice, as they expire and come again all the time', async () => {
    const node = await nodeWithClients(new UnsteadyNfTables(messages => [...messages, messages[0]!]));
    expect(await node.set(routeTo(PODS.slice(1), STICKY))).toEqual([]);
    const left = await remembered(node);
    expect([...new Set(left)]).toEqual(ALL.slice(1, 3));
  });

  it('are kept while endpoints only come, and when something else changes', async () => {
    const node = await nodeWithClients();
    await node.set(routeTo([...PODS, endpoint('10.244.0.4')], STICKY));
    await node.set(routeTo([...PODS, endpoint('10.244.0.4')], { ...STICKY, externalIPs: ['198.51.100.7'] }));
    expect(await remembered(node)).toEqual(ALL);
  });

  it('of endpoints that went while nobody looked are forgotten when the node is tidied', async () => {
    const node = await nodeWithClients();
    await learn(node, [['192.0.2.9', '10.244.0.99:8080']]);
    const after = new Node('IPv4', node.kernel);
    await after.backend.read();
    await after.backend.tidy?.();
    expect(await remembered(after)).toEqual(ALL);
  });
});
