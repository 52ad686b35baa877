/** Names of others, through an engine: what a client gets of what upstream servers say. */
import type { Answer } from 'dns-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Behaviour, knowing, NameServer, replyTo } from '../../fakes/name-server.ts';
import {
  asking,
  CLIENT,
  DEFAULT_NAMESPACE,
  EngineLab,
  heard,
  type LabOptions,
  SETTINGS,
  serviceChange,
} from './engine-lab.ts';

const WWW: Answer = { name: 'www.example.com', type: 'A', ttl: 300, data: '192.0.2.1' };
const PTR: Answer = { name: '1.2.0.192.in-addr.arpa', type: 'PTR', ttl: 300, data: 'www.example.com' };
const toWww = serviceChange('out', { kind: 'external-name', externalName: 'www.example.com' });
const OUT = 'out.default.svc.cluster.local';
let upstream: NameServer;

beforeEach(async () => {
  upstream = await NameServer.open(knowing([WWW, PTR]));
});
afterEach(() => upstream[Symbol.asyncDispose]());

function labOf(more: LabOptions = {}, behaviour?: Behaviour): EngineLab {
  if (behaviour !== undefined) upstream.behaviour = behaviour;
  return new EngineLab({ changes: [DEFAULT_NAMESPACE, toWww], upstreams: [upstream.place], ...more });
}

describe('names of others', () => {
  it('are asked once and then kept, with what is left of their time', async () => {
    const lab = labOf();
    const { packet } = await lab.ask('wWw.example.com', 'A');
    expect(packet).toMatchObject({ flag_aa: false, flag_ra: true, questions: [{ name: 'wWw.example.com' }] });
    expect(packet.answers).toMatchObject([{ name: 'wWw.example.com' }]);
    lab.nowMs += 100_000;
    expect((await lab.ask('www.EXAMPLE.com', 'A')).packet.answers).toMatchObject([{ ttl: 200, data: '192.0.2.1' }]);
    expect(upstream.names).toEqual(['www.example.com']);
    expect(lab.engine.readings()).toMatchObject({
      cache: { hits: 1, misses: 1, entries: 1 },
      upstreams: { [`127.0.0.1:${upstream.port}`]: { requests: 1, healthy: 1, responses: { NOERROR: 1 } } },
    });
  });

  it('are not remembered from servers that are no longer asked', async () => {
    const lab = labOf();
    await lab.ask('www.example.com', 'A');
    lab.engine.configure({ ...SETTINGS, upstreams: [upstream.place], ttl: 7 });
    expect(lab.engine.readings().cache.entries).toBe(1);
    await using other = await NameServer.open(knowing([{ ...WWW, data: '192.0.2.9' } as Answer]));
    lab.engine.configure({ ...SETTINGS, upstreams: [other.place] });
    expect((await lab.ask('www.example.com', 'A')).data).toEqual(['192.0.2.9']);
  });

  it('are not joined with, or remembered from, what servers were asked that are no longer asked', async () => {
    const late = Promise.withResolvers<void>();
    const lab = labOf({}, async asked => {
      await late.promise;
      return [replyTo(asked, { answers: [WWW] })];
    });
    const before = lab.ask('www.example.com', 'A');
    const untold = lab.ask('two.example.com', 'A');
    await expect.poll(() => upstream.names).toHaveLength(2);
    await using other = await NameServer.open(knowing([{ ...WWW, data: '192.0.2.9' } as Answer]));
    lab.engine.configure({ ...SETTINGS, upstreams: [other.place] });
    expect((await lab.ask('www.example.com', 'A')).data).toEqual(['192.0.2.9']);
    expect(lab.engine.readings().forward.pending).toBe(2);
    late.resolve();
    expect((await before).data).toEqual(['192.0.2.1']);
    await untold;
    expect(lab.engine.readings()).toMatchObject({ forward: { pending: 0 }, cache: { entries: 1 } });
    expect((await lab.ask('www.example.com', 'A')).data).toEqual(['192.0.2.9']);
    expect(other.names).toEqual(['www.example.com']);
  });

  it('that lead into a zone of ours are answered from there, whatever others say of it', async () => {
    const chain: Answer[] = [
      { name: 'a.example.com', type: 'CNAME', ttl: 60, data: 'b.example.com' },
      { name: 'b.example.com', type: 'CNAME', ttl: 60, data: 'Web.default.svc.cluster.local' },
      { name: 'web.default.svc.cluster.local', type: 'A', ttl: 60, data: '203.0.113.66' },
    ];
    const lab = labOf({}, asked => [replyTo(asked, { answers: chain })]);
    lab.engine.apply([serviceChange('web', { clusterIPs: ['10.96.0.80'] })]);
    for (let i = 0; i < 2; i += 1) {
      const { packet, data } = await lab.ask('a.example.com', 'A');
      expect(data).toEqual(['b.example.com', 'Web.default.svc.cluster.local', '10.96.0.80']);
      expect(packet).toMatchObject({ flag_aa: false, authorities: [], additionals: [] });
    }
    lab.engine.apply([serviceChange('web', { clusterIPs: ['10.96.0.81'] })]);
    expect((await lab.ask('a.example.com', 'A')).data.at(-1)).toBe('10.96.0.81');
    expect((await lab.ask('web.default.svc.cluster.local', 'A')).data).toEqual(['10.96.0.81']);
  });

  it('that lead to and fro end as a failure', async () => {
    const back: Answer = { name: 'www.example.com', type: 'CNAME', ttl: 60, data: OUT };
    const { rcode } = await labOf({}, asked => [replyTo(asked, { answers: [back] })]).ask(OUT, 'A');
    expect(rcode).toBe(2);
  });

  it('are asked for others too while a client waits for many that nobody answers', async () => {
    const lab = labOf({ maxConcurrent: 40 }, asked => (asked.name === 'www.example.com' ? knowing([WWW])(asked) : []));
    const many = Array.from({ length: 100 }, (_, i) => lab.ask(`n${i}.gone.test`, 'A'));
    const atOnce = await Promise.all(many.slice(14).map(async each => (await each).rcode));
    expect(new Set(atOnce)).toEqual(new Set([2]));
    const client = { address: '10.244.0.8', port: 40_000 };
    expect((await lab.ask('www.example.com', 'A', { client })).data).toEqual(['192.0.2.1']);
    expect(lab.engine.readings().forward).toEqual({ pending: 14, rejected: 86 });
    await Promise.all(many);
    expect((await lab.ask('www.example.com', 'A')).data).toEqual(['192.0.2.1']);
  }, 15_000);

  it('are asked for others too, however many clients wait for what nobody answers', async () => {
    const lab = labOf({ maxConcurrent: 100 }, asked => (asked.name === 'www.example.com' ? knowing([WWW])(asked) : []));
    const many = Array.from({ length: 1000 }, (_, i) => {
      const client = { address: `10.244.0.${10 + (i % 20)}`, port: 40_000 };
      return lab.ask(`n${i}.gone.test`, 'A', { client });
    });
    expect((await lab.ask('www.example.com', 'A')).data).toEqual(['192.0.2.1']);
    expect(lab.engine.readings().forward.pending).toBeGreaterThan(80);
    await Promise.all(many);
  }, 15_000);

  it('have their addresses turned, and are cut to what fits', async () => {
    const all = Array.from({ length: 60 }, (_, i): Answer => ({ ...WWW, data: `192.0.2.${i}` }) as Answer);
    const lab = labOf({}, knowing(all));
    const firsts = new Set<unknown>();
    for (let i = 0; i < 60; i += 1) {
      const { bytes, packet, data } = await lab.ask('www.example.com', 'A');
      expect([bytes.length <= 512, packet.flag_tc]).toEqual([true, true]);
      firsts.add(data[0]);
    }
    expect(firsts.size).toBe(60);
  });

  it('get SERVFAIL where no server has an answer, and what was known before where there is such', async () => {
    const lab = labOf();
    await lab.ask('www.example.com', 'A');
    lab.nowMs += 400_000;
    upstream.behaviour = asked => [replyTo(asked, { rcode: 2 })];
    expect((await lab.ask('www.example.com', 'A')).packet.answers).toMatchObject([{ ttl: 30, data: '192.0.2.1' }]);
    expect((await lab.ask('new.example.com', 'A')).rcode).toBe(2);
    expect(lab.engine.readings().cache.stale).toBe(1);
  });

  it('do not keep a client waiting who can have what was known before', async () => {
    const lab = labOf();
    await lab.ask('www.example.com', 'A');
    lab.nowMs += 400_000;
    const late = Promise.withResolvers<readonly Buffer[]>();
    upstream.behaviour = () => late.promise;
    const startedAt = performance.now();
    expect((await lab.ask('www.example.com', 'A')).packet.answers).toMatchObject([{ ttl: 30, data: '192.0.2.1' }]);
    expect(performance.now() - startedAt).toBeLessThan(3000);
    late.resolve([]);
  });

  it('are asked first for a newer answer, however many others got none', async () => {
    const lab = labOf({}, asked => (asked.name === 'www.example.com' ? knowing([WWW])(asked) : []));
    await lab.ask('www.example.com', 'A');
    await Promise.all(Array.from({ length: 5 }, (_, i) => lab.ask(`n${i}.gone.test`, 'A')));
    lab.nowMs += 400_000;
    upstream.behaviour = knowing([{ ...WWW, data: '192.0.2.2' } as Answer]);
    expect((await lab.ask('www.example.com', 'A')).data).toEqual(['192.0.2.2']);
  }, 15_000);

  it('leave no additional records to anybody', async () => {
    const poison: Answer = { name: 'bank.test', type: 'A', ttl: 300, data: '203.0.113.66' };
    const lab = labOf({}, asked => [
      replyTo(asked, {
        answers: asked.name === 'www.example.com' ? [WWW] : [],
        additionals: [poison],
        authorities: [poison],
      }),
    ]);
    const { packet } = await lab.ask('www.example.com', 'A');
    expect([packet.authorities, packet.additionals]).toEqual([[], []]);
    expect((await lab.ask('bank.test', 'A')).data).toEqual([]);
  });

  it('tell whether they were validated to those who ask', async () => {
    const lab = labOf({}, asked => {
      const bytes = replyTo(asked, { answers: [WWW] });
      bytes[3]! |= 0x20;
      return [bytes];
    });
    expect((await lab.ask('www.example.com', 'A', { edns: { do: true } })).packet.flag_ad).toBe(true);
    expect((await lab.ask('www.example.com', 'A')).packet.flag_ad).toBe(false);
  });
});

describe('an ExternalName', () => {
  it('brings what it leads to, and keeps the CNAME', async () => {
    const { packet } = await labOf().ask(OUT, 'A');
    expect(packet.answers).toMatchObject([
      { name: OUT, type: 'CNAME', ttl: 5, data: 'www.example.com' },
      { name: 'www.example.com', type: 'A', data: '192.0.2.1' },
    ]);
  });

  it('says of a target that is missing what its zone says', async () => {
    const data = { mname: 'ns', rname: 'host', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 60 };
    const lab = labOf({}, asked => [
      replyTo(asked, { rcode: 3, authorities: [{ name: 'example.com', type: 'SOA', ttl: 60, data }] }),
    ]);
    const { rcode, packet } = await lab.ask(OUT, 'A');
    expect([rcode, packet.answers?.length, packet.authorities?.[0]?.name]).toEqual([3, 1, 'example.com']);
  });

  it('says that it is cut where the upstream server’s answer was', async () => {
    const lab = labOf({}, asked =>
      asked.transport === 'tcp' ? 'close' : [replyTo(asked, { answers: [WWW], isTruncated: true })],
    );
    const { packet } = await lab.ask(OUT, 'A');
    expect([packet.flag_tc, packet.answers?.length]).toEqual([true, 2]);
  });

  it('is SERVFAIL with the CNAME where nobody answers, and the CNAME alone where nobody can be asked', async () => {
    const failing = labOf({}, asked => [replyTo(asked, { rcode: 5 })]);
    expect(await failing.ask(OUT, 'A')).toMatchObject({ rcode: 2, data: ['www.example.com'] });
    expect(await labOf({ upstreams: [] }).ask(OUT, 'A')).toMatchObject({ rcode: 0, data: ['www.example.com'] });
  });

  it('of others that leads into a zone of ours is SERVFAIL as long as that is not known', async () => {
    const alias: Answer = { name: 'www.example.com', type: 'CNAME', ttl: 60, data: 'web.default.svc.cluster.local' };
    const lab = labOf({ isSynced: false }, asked => [replyTo(asked, { answers: [alias] })]);
    expect(await lab.ask('www.example.com', 'A')).toMatchObject({ rcode: 2, data: ['web.default.svc.cluster.local'] });
    lab.engine.setSynced();
    expect(await lab.ask('www.example.com', 'A')).toMatchObject({ rcode: 3 });
  });

  it('asks for the type that was asked for, and brings that', async () => {
    const lab = labOf(
      {},
      knowing([{ ...WWW, type: 'MX', data: { preference: 5, exchange: 'mail.example.com' } } as Answer]),
    );
    const { packet } = await lab.ask(OUT, 'MX');
    expect(packet.answers).toMatchObject([{ type: 'CNAME' }, { type: 'MX', data: { exchange: 'mail.example.com' } }]);
    expect(upstream.asked.filter(({ name }) => !name.endsWith('.kproxy-ts'))).toMatchObject([{ type: 'MX' }]);
  });

  it('is asked for itself without a question to others', async () => {
    expect((await labOf().ask(OUT, 'CNAME')).data).toEqual(['www.example.com']);
    expect(await labOf().ask(OUT, 'SRV')).toMatchObject({ rcode: 0, data: [] });
    expect(upstream.asked).toEqual([]);
  });
});

describe('a zone that falls through', () => {
  const fallthrough = ['in-addr.arpa'];
  it('asks others for what it has not, and has what it has', async () => {
    const lab = labOf({ fallthrough, changes: undefined } as never);
    expect((await lab.ask('1.2.0.192.in-addr.arpa', 'PTR')).data).toEqual(['www.example.com']);
    lab.engine.apply([serviceChange('web', { clusterIPs: ['192.0.2.1'] })]);
    expect((await lab.ask('1.2.0.192.in-addr.arpa', 'PTR')).data).toEqual(['web.default.svc.cluster.local']);
  });

  it('says SERVFAIL as long as it does not know what it has', async () => {
    const lab = new EngineLab({ fallthrough, upstreams: [upstream.place], isSynced: false });
    expect((await lab.ask('1.2.0.192.in-addr.arpa', 'PTR')).rcode).toBe(2);
    expect(upstream.asked).toEqual([]);
  });
});

describe('an upstream server that is ourselves', () => {
  it('is found out, and cluster names go on', async () => {
    const lab: EngineLab = labOf();
    upstream.behaviour = async asked => {
      const bytes = await lab.engine.respond(asking(asked.name, asked.type), CLIENT, false);
      if (bytes === undefined) return [];
      const own = Buffer.from(bytes);
      own.writeUInt16BE(asked.id, 0);
      return [own];
    };
    const lost = lab.engine.respond(asking('www.example.com', 'A'), CLIENT, false);
    await expect.poll(() => lab.failures.map(({ error }) => error.message)).toEqual(['127.0.0.1 asks us']);
    expect((await lab.ask(OUT, 'CNAME')).data).toEqual(['www.example.com']);
    expect((await lab.ask('two.example.com', 'A')).rcode).toBe(2);
    expect(lab.engine.readings().upstreams[`127.0.0.1:${upstream.port}`]).toMatchObject({ loops: 1, healthy: 0 });
    expect(heard((await lost)!).rcode).toBe(2);
  }, 10_000);
});
