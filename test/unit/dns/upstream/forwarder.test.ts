import { encode } from 'dns-packet';
import { afterEach, describe, expect, it } from 'vitest';
import { Forwarder, type ForwarderOptions } from '../../../../src/dns/upstream/forwarder.ts';
import { isLoopName, loopRecord } from '../../../../src/dns/upstream/loop.ts';
import { wireName } from '../../../../src/dns/wire/names.ts';
import { questionOf } from '../../../../src/dns/wire/question.ts';
import { type Asked, type Behaviour, knowing, NameServer, replyTo, silent } from '../../../fakes/name-server.ts';
import { heard } from '../engine-lab.ts';

const RECORD = { name: 'www.example.com', type: 'A', ttl: 300, data: '192.0.2.1' } as const;
const GOOD = knowing([RECORD]);
const failures: { readonly port: number; readonly message: string }[] = [];
let open: NameServer[] = [];

afterEach(async () => {
  await Promise.all(open.map(server => server[Symbol.asyncDispose]()));
  open = [];
  failures.length = 0;
});

async function serving(behaviour: Behaviour): Promise<NameServer> {
  const server = await NameServer.open(behaviour);
  open.push(server);
  return server;
}

function forwarding(servers: readonly NameServer[], more: Partial<ForwarderOptions> = {}): Forwarder {
  return new Forwarder({
    servers: servers.map(({ place }) => place),
    maxConcurrent: 100,
    now: () => performance.now(),
    instance: 'test',
    onAnswer: () => undefined,
    onFailure: ({ port }, { message }) => failures.push({ port, message }),
    ...more,
  });
}

function question(name: string = RECORD.name) {
  const bytes = questionOf(wireName(name), 1, { isDnssecOk: false, isCheckingDisabled: false });
  return { key: name, bytes, isDnssecOk: false };
}

async function addressOf(forwarder: Forwarder, name?: string): Promise<readonly unknown[] | undefined> {
  const answer = await forwarder.ask(question(name));
  return answer === undefined ? undefined : heard(answer.bytes).data;
}

/** Only questions of clients, not those that look for a loop. */
const others = (server: NameServer) => server.asked.filter(({ name }) => !name.endsWith('.kproxy-ts'));

describe('one server', () => {
  it('answers', async () => {
    const server = await serving(GOOD);
    expect(await forwarding([server]).ask(question())).toMatchObject({ rcode: 0, server: server.place });
  });

  it('is asked once by all who ask the same', async () => {
    const server = await serving(GOOD);
    const kept: string[] = [];
    const forwarder = forwarding([server], { onAnswer: key => kept.push(key) });
    const all = await Promise.all(Array.from({ length: 50 }, () => addressOf(forwarder)));
    expect(new Set(all.map(String))).toEqual(new Set(['192.0.2.1']));
    expect([server.names.length, kept]).toEqual([1, [RECORD.name]]);
  });

  it('hears each question from another port with another id', async () => {
    const server = await serving(GOOD);
    const forwarder = forwarding([server]);
    await Promise.all(Array.from({ length: 40 }, (_, i) => forwarder.ask(question(`n${i}.example.com`))));
    const [ports, ids] = [others(server).map(({ port }) => port), others(server).map(({ id }) => id)];
    // 40 of 65 536 ids, or of some 28 000 ports: that two pairs are the same doesn't happen.
    expect([new Set(ports).size >= 38, new Set(ids).size >= 38]).toEqual([true, true]);
  });

  it('is asked by TCP where its answer is cut', async () => {
    const server = await serving(asked =>
      asked.transport === 'udp' ? [replyTo(asked, { isTruncated: true })] : [replyTo(asked, { answers: [RECORD] })],
    );
    expect(await addressOf(forwarding([server]))).toEqual(['192.0.2.1']);
  });

  it('that takes no TCP is believed as far as it got', async () => {
    const server = await serving(asked =>
      asked.transport === 'tcp' ? 'close' : [replyTo(asked, { isTruncated: true, answers: [RECORD] })],
    );
    const answer = await forwarding([server]).ask(question());
    expect(heard(answer!.bytes).packet).toMatchObject({ flag_tc: true, answers: [{ data: '192.0.2.1' }] });
  });

  it('is asked again where a datagram is lost', async () => {
    let heardOf = 0;
    const server = await serving(asked => {
      if (asked.name === RECORD.name) heardOf += 1;
      return heardOf === 1 ? [] : GOOD(asked);
    });
    expect(await addressOf(forwarding([server]))).toEqual(['192.0.2.1']);
  });
});

describe('a server that is slow for some names', () => {
  const slowly =
    (ms: number): Behaviour =>
    async asked => {
      await new Promise(resolve => setTimeout(resolve, ms));
      return GOOD(asked);
    };

  it('is not taken for one that fails, is asked no more than three times, and has all the time that a client has', async () => {
    const server = await serving(slowly(1700));
    const forwarder = forwarding([server]);
    expect(await addressOf(forwarder)).toEqual(['192.0.2.1']);
    expect(forwarder.servers[0]?.isFailing).toBe(false);
    expect(others(server).length).toBeLessThanOrEqual(3);
    server.behaviour = slowly(2600);
    expect(await addressOf(forwarder)).toEqual(['192.0.2.1']);
    expect(failures).toEqual([]);
  });

  it('is down, and said to be, only after several questions without an answer', async () => {
    const server = await serving(silent());
    const forwarder = forwarding([server]);
    expect(await addressOf(forwarder)).toBeUndefined();
    server.behaviour = slowly(2600);
    expect(await addressOf(forwarder)).toEqual(['192.0.2.1']);
  }, 15_000);
});

describe('forged answers', () => {
  const forged = (asked: Asked, change: { readonly id?: number; readonly name?: string; readonly type?: 'AAAA' }) => {
    const { id = asked.id, name = asked.name, type = 'A' } = change;
    const data = type === 'A' ? '203.0.113.66' : '2001:db8::66';
    return encode({
      type: 'response',
      id,
      flags: 0x0180,
      questions: [{ name, type }],
      answers: [{ name, type, ttl: 300, data }],
    });
  };
  it.each([
    ['of another id', (asked: Asked) => forged(asked, { id: asked.id ^ 1 })],
    ['to another name', (asked: Asked) => forged(asked, { name: 'other.example.com' })],
    ['to another type', (asked: Asked) => forged(asked, { type: 'AAAA' })],
    ['that are questions', (asked: Asked) => encode({ ...asked.packet, type: 'query', id: asked.id })],
    ['that are noise', () => Buffer.from('garbage, and too short to be anything')],
    ['that are empty', () => Buffer.alloc(0)],
  ])('%s are passed over, and the right one is taken', async (_what, forge) => {
    const server = await serving(asked => [forge(asked), replyTo(asked, { answers: [RECORD] })]);
    expect(await addressOf(forwarding([server]))).toEqual(['192.0.2.1']);
  });
});

describe('several servers', () => {
  it.each([
    ['says nothing', silent()],
    ['says SERVFAIL', (asked: Asked) => [replyTo(asked, { rcode: 2 })]],
    ['refuses', (asked: Asked) => [replyTo(asked, { rcode: 5 })]],
    [
      'cuts and closes',
      (asked: Asked) => (asked.transport === 'tcp' ? 'close' : [replyTo(asked, { rcode: 2, isTruncated: true })]),
    ],
  ] as const)('the second one is asked where the first %s, while a client waits', async (_what, behaviour) => {
    const servers = [await serving(behaviour), await serving(GOOD)];
    const startedAt = performance.now();
    expect(await addressOf(forwarding(servers))).toEqual(['192.0.2.1']);
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  it('one that failed is asked last, and first again when it is back', async () => {
    let nowMs = 0;
    const servers = [await serving(silent()), await serving(GOOD)] as const;
    // The clock of the test says how long it took: more than anybody waits for one server.
    const forwarder = forwarding(servers, { now: () => (nowMs += 1000) });
    expect(await addressOf(forwarder)).toEqual(['192.0.2.1']);
    await expect.poll(() => forwarder.servers.map(({ isFailing }) => isFailing)).toEqual([true, false]);
    const before = servers[0].names.length;
    expect(await addressOf(forwarder, 'two.example.com')).toEqual([]);
    expect(servers[0].names.length).toBe(before);
    servers[0].behaviour = GOOD;
    nowMs += 60_000;
    await addressOf(forwarder, 'three.example.com');
    await expect.poll(() => forwarder.servers[0]?.isFailing).toBe(false);
    await addressOf(forwarder, 'four.example.com');
    expect(servers[0].names.at(-1)).toBe('four.example.com');
  });

  it('all failing gives the first failure that was said', async () => {
    const saying = [
      await serving(asked => [replyTo(asked, { rcode: 2 })]),
      await serving(asked => [replyTo(asked, { rcode: 5 })]),
    ];
    expect(await forwarding(saying).ask(question())).toMatchObject({ rcode: 2 });
  });

  it('that aren’t there are found out at once', async () => {
    const gone = await NameServer.open(silent());
    const { place } = gone;
    await gone[Symbol.asyncDispose]();
    const forwarder = forwarding([], { servers: [place] });
    const startedAt = performance.now();
    expect(await forwarder.ask(question())).toBeUndefined();
    expect(performance.now() - startedAt).toBeLessThan(1000);
    expect(forwarder.isDown).toBe(true);
  });
});

describe('too many questions', () => {
  it('are turned away', async () => {
    const server = await serving(silent());
    const forwarder = forwarding([server], { maxConcurrent: 3 });
    const waiting = ['a', 'b', 'c'].map(name => forwarder.ask(question(name)));
    expect(await forwarder.ask(question('d'))).toBeUndefined();
    expect([forwarder.rejected, forwarder.pending]).toEqual([1, 3]);
    server.behaviour = asked => [replyTo(asked, { rcode: 3 })];
    expect(await Promise.all(waiting)).toMatchObject([{ rcode: 3 }, { rcode: 3 }, { rcode: 3 }]);
    expect(forwarder.pending).toBe(0);
  });
});

describe('a server that asks us', () => {
  it('is found out and not asked any more', async () => {
    // As a resolver that has us as its own upstream server does it.
    const loop = await serving(asked =>
      isLoopName(asked.name.split('.'), 'test')
        ? [replyTo(asked, { answers: [{ ...loopRecord('test'), type: 'TXT', data: loopRecord('test').text }] })]
        : [],
    );
    const good = await serving(GOOD);
    const forwarder = forwarding([loop, good]);
    expect(await addressOf(forwarder)).toEqual(['192.0.2.1']);
    expect(failures).toContainEqual({ port: loop.port, message: '127.0.0.1 asks us' });
    const before = loop.names.length;
    await addressOf(forwarder, 'two.example.com');
    expect(loop.names.length).toBe(before);
  });

  it('is not one that has another process of ours behind it', async () => {
    const server = await serving(asked =>
      asked.type === 'TXT'
        ? [replyTo(asked, { answers: [{ name: asked.name, type: 'TXT', ttl: 0, data: 'else' }] })]
        : GOOD(asked),
    );
    const forwarder = forwarding([server]);
    await addressOf(forwarder);
    await expect.poll(() => server.asked.some(({ type }) => type === 'TXT')).toBe(true);
    expect(await addressOf(forwarder, 'two.example.com')).toEqual([]);
    expect(forwarder.servers[0]?.isLoop).toBe(false);
  });
});
