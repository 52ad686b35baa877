/** Upstream servers that know less than others: no EDNS, no TCP. */
import { afterEach, describe, expect, it } from 'vitest';
import { Forwarder, type ForwarderOptions } from '../../../../src/dns/upstream/forwarder.ts';
import { wireName } from '../../../../src/dns/wire/names.ts';
import { questionOf } from '../../../../src/dns/wire/question.ts';
import { type Asked, type Behaviour, knowing, NameServer, replyTo } from '../../../fakes/name-server.ts';
import { heard } from '../engine-lab.ts';

const RECORD = { name: 'www.example.com', type: 'A', ttl: 300, data: '192.0.2.1' } as const;
const GOOD = knowing([RECORD]);
let open: NameServer[] = [];

afterEach(async () => {
  await Promise.all(open.map(server => server[Symbol.asyncDispose]()));
  open = [];
});

async function serving(behaviour: Behaviour): Promise<NameServer> {
  const server = await NameServer.open(behaviour);
  open.push(server);
  return server;
}

function forwarding(servers: readonly NameServer[], more: Partial<ForwarderOptions> = {}): Forwarder {
  const plain = { maxConcurrent: 100, now: () => performance.now(), instance: 'test' };
  const told = { onAnswer: () => undefined, onFailure: () => undefined };
  return new Forwarder({ servers: servers.map(({ place }) => place), ...plain, ...told, ...more });
}

function question(name: string = RECORD.name) {
  const bytes = questionOf(wireName(name), 1, { isDnssecOk: false, isCheckingDisabled: false });
  return { key: name, bytes, isDnssecOk: false };
}

async function heardBy(forwarder: Forwarder, name?: string) {
  const answer = await forwarder.ask(question(name));
  if (answer === undefined) return undefined;
  const { rcode, data, packet } = heard(answer.bytes);
  return { rcode, data, isCut: packet.flag_tc };
}

const hasOpt = ({ packet }: Asked) => (packet.additionals ?? []).some(({ type }) => type === 'OPT');
/** Of questions of clients: whether they had OPT. */
const opts = (server: NameServer) => server.asked.filter(({ name }) => !name.endsWith('.kproxy-ts')).map(hasOpt);
const bare = (id: number, rcode: number, flags = 0x8180) => {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(flags | rcode, 2);
  return header;
};
const badVersion = (asked: Asked) => {
  const opt = { type: 'OPT', name: '.', udpPayloadSize: 512, extendedRcode: 1, ednsVersion: 0, flags: 0, options: [] };
  return replyTo(asked, { additionals: [opt as never] });
};

describe('a server without EDNS', () => {
  it.each([
    ['FORMERR', (asked: Asked) => replyTo(asked, { rcode: 1 })],
    ['NOTIMP', (asked: Asked) => replyTo(asked, { rcode: 4 })],
    ['BADVERS', badVersion],
    ['FORMERR without the question', ({ id }: Asked) => bare(id, 1)],
  ])('that says %s is asked again at once without, and for five minutes only so', async (_what, deny) => {
    let nowMs = 0;
    const server = await serving(asked => (hasOpt(asked) ? [deny(asked)] : GOOD(asked)));
    const forwarder = forwarding([server], { now: () => nowMs });
    expect(await heardBy(forwarder)).toMatchObject({ rcode: 0, data: ['192.0.2.1'] });
    expect(opts(server)).toEqual([true, false]);
    nowMs += 299_000;
    await heardBy(forwarder, 'two.example.com');
    expect(opts(server)).toEqual([true, false, false]);
    nowMs += 2000;
    await heardBy(forwarder, 'three.example.com');
    expect(opts(server)).toEqual([true, false, false, true, false]);
    expect(forwarder.servers[0]?.failures).toBe(0);
  });

  it('is not one that likes the question no better without', async () => {
    const server = await serving(asked => [replyTo(asked, { rcode: 1 })]);
    const forwarder = forwarding([server]);
    expect(await forwarder.ask(question())).toMatchObject({ rcode: 1 });
    await forwarder.ask(question('two.example.com'));
    expect(opts(server)).toEqual([true, false, true, false]);
  });
});

describe('a header alone', () => {
  it('is an error, and the next server is asked at once', async () => {
    const servers = [await serving(({ id }) => [bare(id, 5)]), await serving(GOOD)];
    const forwarder = forwarding(servers);
    expect(await heardBy(forwarder)).toMatchObject({ data: ['192.0.2.1'] });
    expect(forwarder.servers[0]?.responses.get(5)).toBe(1);
  });

  it.each([
    ['NOERROR', ({ id }: Asked) => bare(id, 0)],
    ['NXDOMAIN', ({ id }: Asked) => bare(id, 3)],
    ['another id', ({ id }: Asked) => bare(id ^ 1, 2)],
    ['no answer', ({ id }: Asked) => bare(id, 2, 0x0100)],
  ])('with %s is passed over', async (_what, forge) => {
    const server = await serving(asked => [forge(asked), ...([GOOD(asked)].flat() as Buffer[])]);
    const forwarder = forwarding([server]);
    expect(await heardBy(forwarder)).toMatchObject({ rcode: 0, data: ['192.0.2.1'] });
    expect(opts(server)).toEqual([true]);
  });
});

describe('a server whose TCP says nothing', () => {
  const cut: Behaviour = asked =>
    asked.transport === 'tcp' ? [] : [replyTo(asked, { isTruncated: true, answers: [RECORD] })];

  it('is believed as far as it got, while the client waits, and is no failing one', async () => {
    const forwarder = forwarding([await serving(cut)]);
    const startedAt = performance.now();
    expect(await heardBy(forwarder)).toEqual({ rcode: 0, data: ['192.0.2.1'], isCut: true });
    expect(performance.now() - startedAt).toBeLessThan(3000);
    expect(forwarder.servers[0]).toMatchObject({ failures: 0, isFailing: false });
  });

  it('leaves time to the next one, which has all of it', async () => {
    const forwarder = forwarding([await serving(cut), await serving(GOOD)]);
    expect(await heardBy(forwarder)).toEqual({ rcode: 0, data: ['192.0.2.1'], isCut: false });
    await expect.poll(() => forwarder.servers.map(({ inFlight }) => inFlight)).toEqual([0, 0]);
    expect(forwarder.servers.map(({ failures }) => failures)).toEqual([0, 0]);
  });

  it('is believed at the end of a client’s time too, where it was late', async () => {
    const server = await serving(async asked => {
      if (asked.transport === 'udp') await new Promise(resolve => setTimeout(resolve, 3500));
      return cut(asked);
    });
    expect(await heardBy(forwarding([server]))).toEqual({ rcode: 0, data: ['192.0.2.1'], isCut: true });
  }, 10_000);
});
