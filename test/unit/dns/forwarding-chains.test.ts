/** CNAMEs on and on, between our zones and upstream servers; and what a client gets whose share of questions is used up. */
import type { Answer } from 'dns-packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Behaviour, knowing, NameServer, replyTo, silent } from '../../fakes/name-server.ts';
import { DEFAULT_NAMESPACE, EngineLab, type LabOptions, serviceChange } from './engine-lab.ts';

const ZONE = 'default.svc.cluster.local';
let upstream: NameServer;

beforeEach(async () => {
  upstream = await NameServer.open(silent());
});
afterEach(() => upstream[Symbol.asyncDispose]());

function labOf(behaviour: Behaviour, more: LabOptions = {}): EngineLab {
  upstream.behaviour = behaviour;
  return new EngineLab({ changes: [DEFAULT_NAMESPACE], upstreams: [upstream.place], ...more });
}

const cname = (name: string, data: string): Answer => ({ name, type: 'CNAME', ttl: 60, data });
const external = (name: string, externalName: string) => serviceChange(name, { kind: 'external-name', externalName });

/** `first`, c1 … and an address at the end of so many CNAMEs. */
function chainFrom(first: string, count: number): Answer[] {
  const names = [first, ...Array.from({ length: count }, (_, i) => `c${i + 1}.test`)];
  const links = names.slice(1).map((target, i) => cname(names[i]!, target));
  return [...links, { name: names.at(-1)!, type: 'A', ttl: 60, data: '192.0.2.1' }];
}

describe('a circle of an ExternalName and an upstream server’s CNAME', () => {
  const changes = [DEFAULT_NAMESPACE, external('extloop', 'cnloop.test')];
  const back: Behaviour = asked => [replyTo(asked, { answers: [cname(asked.name, `extloop.${ZONE}`)] })];

  it.each([
    [`extloop.${ZONE}`, ['cnloop.test', `extloop.${ZONE}`]],
    ['cnloop.test', [`extloop.${ZONE}`, 'cnloop.test']],
  ])('is SERVFAIL at the first name that comes again (from %s)', async (name, data) => {
    const lab = labOf(back, { changes });
    expect(await lab.ask(name, 'A')).toMatchObject({ rcode: 2, data });
    expect(upstream.names).toEqual(['cnloop.test']);
  });
});

describe('a chain of an upstream server', () => {
  it('of 20 CNAMEs is given whole', async () => {
    const lab = labOf(asked => [replyTo(asked, { answers: chainFrom('a.test', 20) })]);
    const { rcode, data } = await lab.ask('a.test', 'A', { isTcp: true });
    expect([rcode, data.length, data.at(-1)]).toEqual([0, 21, '192.0.2.1']);
  });

  it('that is too long is SERVFAIL, from an ExternalName too', async () => {
    const changes = [DEFAULT_NAMESPACE, external('out', 'a.test')];
    const lab = labOf(asked => [replyTo(asked, { answers: chainFrom('a.test', 40) })], { changes });
    expect(await lab.ask('a.test', 'A', { isTcp: true })).toMatchObject({ rcode: 2, data: [] });
    expect(await lab.ask(`out.${ZONE}`, 'A', { isTcp: true })).toMatchObject({ rcode: 2, data: ['a.test'] });
  });

  it('goes on with what we know where it leads into a zone of ours, however long it is', async () => {
    const chain = [...chainFrom('a.test', 20).slice(0, 20), cname('c20.test', `web.${ZONE}`)];
    const forged: Answer = { name: `web.${ZONE}`, type: 'A', ttl: 60, data: '203.0.113.66' };
    const changes = [DEFAULT_NAMESPACE, serviceChange('web', { clusterIPs: ['10.96.0.80'] })];
    const lab = labOf(asked => [replyTo(asked, { answers: [...chain, forged] })], { changes });
    expect((await lab.ask('a.test', 'A', { isTcp: true })).data.at(-1)).toBe('10.96.0.80');
  });
});

describe('a chain of ExternalNames', () => {
  const chainOf = (count: number) =>
    Array.from({ length: count }, (_, i) => external(`e${i}`, `e${i + 1}.${ZONE}`)).concat(
      serviceChange(`e${count}`, { clusterIPs: ['10.96.0.80'] }),
    );

  it.each([
    [10, 0],
    [16, 0],
    [17, 2],
  ])('of %i is answered with rcode %i', async (count, rcode) => {
    const lab = new EngineLab({ changes: [DEFAULT_NAMESPACE, ...chainOf(count)] });
    const heard = await lab.ask(`e0.${ZONE}`, 'A', { isTcp: true });
    expect([heard.rcode, heard.data.at(-1) === '10.96.0.80']).toEqual([rcode, rcode === 0]);
  });
});

describe('a client that waits for as many answers as it may', () => {
  it('gets what was known before', async () => {
    const www: Answer = { name: 'www.example.com', type: 'A', ttl: 300, data: '192.0.2.1' };
    const lab = labOf(knowing([www]), { maxConcurrent: 2 });
    await lab.ask('www.example.com', 'A');
    lab.nowMs += 400_000;
    const late = Promise.withResolvers<void>();
    upstream.behaviour = async asked => {
      await late.promise;
      return [replyTo(asked, { rcode: 3 })];
    };
    const waiting = lab.ask('gone.test', 'A');
    expect((await lab.ask('www.example.com', 'A')).packet.answers).toMatchObject([{ ttl: 30, data: '192.0.2.1' }]);
    expect((await lab.ask('new.test', 'A')).rcode).toBe(2);
    expect(lab.engine.readings()).toMatchObject({ forward: { pending: 1, rejected: 2 }, cache: { stale: 1 } });
    late.resolve();
    await waiting;
  });
});
