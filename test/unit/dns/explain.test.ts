import { describe, expect, it } from 'vitest';
import { explanationText } from '../../../src/dns/explain-text.ts';
import { typeNumber } from '../../../src/dns/types.ts';
import { knowing, NameServer, replyTo } from '../../fakes/name-server.ts';
import { DEFAULT_NAMESPACE, EngineLab, type LabOptions, serviceChange } from './engine-lab.ts';

const CHANGES = [
  DEFAULT_NAMESPACE,
  serviceChange('web', { clusterIPs: ['10.96.0.10'], endpoints: '10.244.1.1\n10.244.1.2' }),
  serviceChange('db', { kind: 'headless', endpoints: '10.244.2.1 db-0' }),
  serviceChange('empty', { kind: 'headless' }),
  serviceChange('out', { kind: 'external-name', externalName: 'www.example.com' }),
  serviceChange('alias', { kind: 'external-name', externalName: 'web.default.svc.cluster.local' }),
];

const labOf = (more: LabOptions = {}) => new EngineLab({ changes: CHANGES, ...more });

async function text(lab: EngineLab, name: string, type: string): Promise<readonly string[]> {
  const explanation = await lab.engine.explain(name, typeNumber(type)!);
  // As it comes from a worker.
  return explanationText(structuredClone(explanation)).split('\n').slice(0, -1);
}

describe('an explanation', () => {
  it('names the Service, and since when its reply is kept', async () => {
    const lab = labOf();
    await lab.ask('web.default.svc.cluster.local', 'A');
    lab.nowMs += 2500;
    expect(await text(lab, 'Web.default.svc.cluster.local.', 'A')).toEqual([
      'web.default.svc.cluster.local. A: NOERROR',
      'answer:',
      '  web.default.svc.cluster.local.  5  A  10.96.0.10',
      'because:',
      '  the name is in our zone cluster.local',
      '  namespace default exists',
      '  Service default/web has 10.96.0.10, 2 ready endpoint addresses',
      '  this reply was made 2.5 s ago, and nothing that it is about has changed since',
    ]);
  });

  it.each([
    [
      'nope.default.svc.cluster.local',
      'A',
      ['  namespace default exists', '  there is no Service default/nope, or none with an address or an external name'],
    ],
    ['web.nope.svc.cluster.local', 'A', ['  there is no namespace nope']],
    [
      'empty.default.svc.cluster.local',
      'A',
      ['  namespace default exists', '  Service default/empty is headless, but no ready endpoint, and so no name'],
    ],
  ])('says why there is no %s', async (name, type, why) => {
    const lines = await text(labOf(), name, type);
    expect(lines[0]).toBe(`${name}. ${type}: NXDOMAIN`);
    expect(lines.slice(lines.indexOf('because:') + 2)).toEqual(why);
  });

  it.each([
    ['web.default.svc.cluster.local', 'MX', 'NOERROR', '  the name exists, but has no record of type MX'],
    [
      'web.default.svc.cluster.local',
      'ANY',
      'NOERROR',
      '  the name exists; whoever asks for all types at once gets none (RFC 8482)',
    ],
    ['a.web.default.svc.cluster.local', 'A', 'NXDOMAIN', '  there is no such name'],
    ['default.svc.cluster.local', 'A', 'NOERROR', '  the name exists, but has no record of type A'],
    ['10.in-addr.arpa', 'PTR', 'NOERROR', '  the name exists, but has no record of type PTR'],
    ['cluster.local', 'AXFR', 'REFUSED', '  zones are not transferred'],
  ])('says why %s %s has nothing', async (name, type, rcode, why) => {
    const lines = await text(labOf(), name, type);
    expect([lines[0], lines.at(-1)]).toEqual([`${name}. ${type}: ${rcode}`, why]);
  });

  it('says which addresses of pods have names', async () => {
    const name = '10-244-1-9.default.pod.cluster.local';
    const why = async (more: LabOptions) => (await text(labOf(more), name, 'A')).slice(-2);
    expect(await why({ pods: 'disabled' })).toEqual([
      '  addresses of pods have no names (pods: disabled)',
      '  there is no such name',
    ]);
    expect((await why({ pods: 'insecure' })).at(-1)).toBe(
      '  every address has a name in a namespace that exists (pods: insecure)',
    );
  });

  it('has a name for the root', async () => {
    expect((await text(labOf(), '.', 'NS')).at(-1)).toBe('  there is no upstream server to ask for .');
  });

  it('follows an alias of ours', async () => {
    expect((await text(labOf(), 'alias.default.svc.cluster.local', 'A')).slice(3)).toEqual([
      '  web.default.svc.cluster.local.    5  A      10.96.0.10',
      'because:',
      '  the name is in our zone cluster.local',
      '  namespace default exists',
      '  Service default/alias stands for web.default.svc.cluster.local',
      '  it is an alias of web.default.svc.cluster.local',
      '  the name is in our zone cluster.local',
      '  namespace default exists',
      '  Service default/web has 10.96.0.10, 2 ready endpoint addresses',
    ]);
  });

  it('names the upstream server and its time, and then the cache', async () => {
    await using upstream = await NameServer.open(
      knowing([{ name: 'www.example.com', type: 'A', ttl: 60, data: '192.0.2.1' }]),
    );
    const lab = labOf({ upstreams: [upstream.place] });
    const first = await text(lab, 'out.default.svc.cluster.local', 'A');
    expect(first.at(-2)).toBe('  www.example.com is in none of our zones');
    expect(first.at(-1)).toBe(`  www.example.com: 127.0.0.1:${upstream.port} said NOERROR after 0 ms`);
    lab.nowMs += 20_000;
    expect((await text(lab, 'www.example.com', 'A')).slice(1)).toEqual([
      'answer:',
      '  www.example.com.  40  A  192.0.2.1',
      'because:',
      '  www.example.com is in none of our zones',
      '  www.example.com was asked of an upstream server 20 s ago',
    ]);
    expect(upstream.names).toEqual(['www.example.com']);
  });

  it('goes on where an upstream server leads back into our zones, and says when it gives what was known before', async () => {
    const alias = { name: 'www.example.com', type: 'CNAME', ttl: 60, data: 'web.default.svc.cluster.local' } as const;
    await using upstream = await NameServer.open(
      knowing([alias, { name: 'old.test', type: 'A', ttl: 60, data: '192.0.2.1' }]),
    );
    const lab = labOf({ upstreams: [upstream.place] });
    expect((await text(lab, 'www.example.com', 'A')).slice(-5)).toEqual([
      expect.stringMatching(/^ {2}www\.example\.com: 127\.0\.0\.1:\d+ said NOERROR after 0 ms$/),
      '  it is an alias of web.default.svc.cluster.local',
      '  the name is in our zone cluster.local',
      '  namespace default exists',
      '  Service default/web has 10.96.0.10, 2 ready endpoint addresses',
    ]);
    await text(lab, 'old.test', 'A');
    lab.nowMs += 100_000;
    upstream.behaviour = asked => [replyTo(asked, { rcode: 2 })];
    expect((await text(lab, 'old.test', 'A')).at(-1)).toBe(
      '  nobody has an answer for old.test now: this is the one before',
    );
  });

  it('says that nobody can be asked, or that the cluster is not known', async () => {
    expect((await text(labOf(), 'www.example.com', 'MX')).at(-1)).toBe(
      '  there is no upstream server to ask for www.example.com',
    );
    const lines = await text(labOf({ isSynced: false }), 'web.default.svc.cluster.local', 'SRV');
    expect([lines[0], lines.at(-1)]).toEqual([
      'web.default.svc.cluster.local. SRV: SERVFAIL',
      '  the name is in our zone cluster.local, and the cluster isn’t known yet'.replace('’', "'"),
    ]);
  });

  it('leads from an address to its Services', async () => {
    expect((await text(labOf(), '1.2.244.10.in-addr.arpa', 'PTR')).slice(2)).toEqual([
      '  1.2.244.10.in-addr.arpa.  5  PTR  db-0.db.default.svc.cluster.local.',
      'because:',
      '  the name is in our zone in-addr.arpa',
      '  Service default/db is headless, 1 ready endpoint address',
    ]);
    expect((await text(labOf(), '9.2.244.10.in-addr.arpa', 'PTR')).at(-1)).toBe(
      '  no Service has 10.244.2.9 as its cluster IP, or an endpoint there',
    );
  });

  it('of what is no name is refused', async () => {
    await expect(labOf().engine.explain('a..b', 1)).rejects.toThrow(RangeError);
    await expect(labOf().engine.explain('x'.repeat(64), 1)).rejects.toThrow(RangeError);
  });
});
