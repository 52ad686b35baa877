import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asking, CLIENT, DEFAULT_NAMESPACE, EngineLab, SETTINGS, serviceChange } from './engine-lab.ts';

const WEB = serviceChange('web', { clusterIPs: ['10.96.0.10'], endpoints: '10.244.1.1\n10.244.1.2 db-0' });
const DB = serviceChange('db', { kind: 'headless', endpoints: '10.244.2.1 db-0\n10.244.2.2 db-1\n10.244.2.3 db-2' });
const OUT = serviceChange('out', { kind: 'external-name', externalName: 'gone.default.svc.cluster.local' });
const EMPTY = serviceChange('empty', { kind: 'headless' });
const CHANGES = [DEFAULT_NAMESPACE, WEB, DB, OUT, EMPTY];
const NOERROR = 0;
const NXDOMAIN = 3;
const REFUSED = 5;

describe('names that CoreDNS answers wrong', () => {
  const lab = new EngineLab({ changes: CHANGES });
  const zone = 'cluster.local';
  it.each([
    ['TXT of names that exist: the zone', zone, 'TXT', NOERROR],
    ['TXT of names that exist: svc', `svc.${zone}`, 'TXT', NOERROR],
    ['TXT of names that exist: a namespace', `default.svc.${zone}`, 'TXT', NOERROR],
    ['SOA of a name that is missing', `nope.default.svc.${zone}`, 'SOA', NXDOMAIN],
    ['addresses of dns-version', `dns-version.${zone}`, 'A', NOERROR],
    ['names between others: _tcp', `_tcp.web.default.svc.${zone}`, 'A', NOERROR],
    ['names between others: dns', `dns.${zone}`, 'A', NOERROR],
    ['names between others: in a reverse zone', '244.10.in-addr.arpa', 'PTR', NOERROR],
    ['addresses of a port', `_http._tcp.web.default.svc.${zone}`, 'A', NOERROR],
    ['a protocol that no port has', `_udp.web.default.svc.${zone}`, 'A', NXDOMAIN],
  ])('%s', async (_what, name, type, rcode) => {
    const answer = await lab.ask(name, type);
    expect([answer.rcode, answer.packet.answers, answer.packet.authorities?.[0]?.type]).toEqual([rcode, [], 'SOA']);
  });

  it('an ExternalName that leads to a name that is missing: NXDOMAIN with the CNAME and SOA', async () => {
    const { rcode, packet } = await lab.ask(`out.default.svc.${zone}`, 'A');
    expect(rcode).toBe(NXDOMAIN);
    expect(packet.answers).toMatchObject([{ type: 'CNAME', data: `gone.default.svc.${zone}` }]);
    expect(packet.authorities).toMatchObject([{ type: 'SOA' }]);
  });

  it('circles of ExternalNames end in SERVFAIL', async () => {
    const circle = (name: string, to: string) =>
      serviceChange(name, { kind: 'external-name', externalName: `${to}.default.svc.${zone}` });
    lab.engine.apply([circle('a', 'b'), circle('b', 'a'), circle('self', 'self')]);
    const [a, b, self] = ['a', 'b', 'self'].map(name => `${name}.default.svc.${zone}`) as [string, string, string];
    expect(await lab.ask(a, 'A', { isTcp: true })).toMatchObject({ rcode: 2, data: [b, a] });
    expect(await lab.ask(self, 'A')).toMatchObject({ rcode: 2, data: [self] });
    expect(lab.faults).toEqual([]);
  });

  it('one SRV where TCP and UDP have the same port', async () => {
    const ports = [
      { name: 'dns', protocol: 'UDP', port: 53 },
      { name: 'dns-tcp', protocol: 'TCP', port: 53 },
    ];
    lab.engine.apply([serviceChange('kube-dns', { clusterIPs: ['10.96.0.53'], ports })]);
    expect((await lab.ask(`kube-dns.default.svc.${zone}`, 'SRV')).packet.answers).toHaveLength(1);
  });
});

describe('questions that are no lookups', () => {
  const lab = new EngineLab({ changes: CHANGES });
  it.each(['AXFR', 'IXFR'])('%s is refused', async type => {
    expect((await lab.ask('cluster.local', type, { isTcp: true })).rcode).toBe(REFUSED);
  });

  it('ANY gets nothing where the name exists (RFC 8482), and NXDOMAIN where not', async () => {
    const answer = await lab.ask('web.default.svc.cluster.local', 'ANY');
    expect([answer.rcode, answer.packet.answers]).toEqual([0, []]);
    expect((await lab.ask('nope.default.svc.cluster.local', 'ANY')).rcode).toBe(NXDOMAIN);
  });

  it.each([
    ['NOTIFY is not implemented', 2, 0x2100, 4],
    ['UPDATE is not implemented', 2, 0x2900, 4],
    ['no question is an error', 4, 0, 1],
    ['two questions are an error', 4, 2, 1],
  ])('%s, in twelve bytes', async (_what, at, value, rcode) => {
    const message = asking('web.default.svc.cluster.local', 'A');
    message.writeUInt16BE(value, at);
    const answer = await lab.engine.respond(message, CLIENT, false);
    expect([answer?.length, (answer?.[3] ?? 0) & 15]).toEqual([12, rcode]);
  });

  it('options of EDNS that nobody here understands are left out (RFC 6891 §6.1.2)', async () => {
    const plain = asking('web.default.svc.cluster.local', 'A', { edns: {} });
    const cookie = Buffer.from('000a0008a1a2a3a4a5a6a7a8', 'hex');
    const asked = Buffer.concat([plain, cookie]);
    asked.writeUInt16BE(cookie.length, plain.length - 2);
    const answer = await lab.engine.respond(asked, CLIENT, false);
    expect(answer).toEqual(await lab.engine.respond(plain, CLIENT, false));
  });

  it('an answer gets none', () => {
    const message = asking('web.default.svc.cluster.local', 'A');
    message.writeUInt16BE(0x8100, 2);
    expect(lab.engine.respond(message, CLIENT, false)).toBeUndefined();
    expect(lab.engine.readings().malformed).toBe(1);
  });

  it.each(['*', 'any', 'http.web', 'db-0.web.extra'])('%s is no pattern', async label => {
    expect((await lab.ask(`${label}.default.svc.cluster.local`, 'A')).rcode).toBe(NXDOMAIN);
  });

  it('another class is refused', async () => {
    expect((await lab.ask('web.default.svc.cluster.local', 'A', { class: 'CH' })).rcode).toBe(REFUSED);
  });

  it('a name of nobody is refused where there is no upstream server', async () => {
    expect((await lab.ask('example.com', 'A')).rcode).toBe(REFUSED);
  });

  it('an unknown address in our reverse zone does not exist, also where misses would fall through to nobody', async () => {
    const falling = new EngineLab({ changes: CHANGES, fallthrough: ['in-addr.arpa'] });
    for (const each of [lab, falling]) {
      const answer = await each.ask('9.9.9.10.in-addr.arpa', 'PTR');
      expect([answer.rcode, answer.packet.authorities?.[0]?.type]).toEqual([NXDOMAIN, 'SOA']);
    }
  });
});

describe('before the cluster is known', () => {
  it('names of ours get SERVFAIL with SOA, whether they exist or not', async () => {
    const lab = new EngineLab({ changes: CHANGES, isSynced: false });
    for (const name of ['web.default.svc.cluster.local', 'nope.default.svc.cluster.local', '1.2.3.10.in-addr.arpa']) {
      const answer = await lab.ask(name, 'A');
      expect([answer.rcode, answer.packet.authorities?.[0]?.type]).toEqual([2, 'SOA']);
    }
    lab.engine.setSynced();
    expect((await lab.ask('web.default.svc.cluster.local', 'A')).data).toEqual(['10.96.0.10']);
  });
});

describe('several addresses', () => {
  const ips = Array.from({ length: 7 }, (_, i) => `10.244.3.${i + 1}`);
  const changes = [DEFAULT_NAMESPACE, serviceChange('many', { kind: 'headless', endpoints: ips.join('\n') })];
  it('are each first equally often', async () => {
    const lab = new EngineLab({ changes });
    const firsts = new Map<unknown, number>();
    for (let i = 0; i < 70; i += 1) {
      const { data } = await lab.ask('many.default.svc.cluster.local', 'A');
      expect([...data].map(String).toSorted()).toEqual(ips);
      firsts.set(data[0], (firsts.get(data[0]) ?? 0) + 1);
    }
    expect([...firsts.values()]).toEqual(ips.map(() => 10));
  });

  it('are turned before they are cut: all are heard of by who takes little', async () => {
    const all = Array.from({ length: 100 }, (_, i) => `10.244.4.${i + 1}`);
    const big = serviceChange('big', { kind: 'headless', endpoints: all.join('\n') });
    const lab = new EngineLab({ changes: [DEFAULT_NAMESPACE, big] });
    const seen = new Set<unknown>();
    for (let i = 0; i < 100; i += 1) {
      const { bytes, packet, data } = await lab.ask('big.default.svc.cluster.local', 'A');
      expect([bytes.length <= 512, packet.flag_tc, new Set(data).size]).toEqual([true, true, data.length]);
      for (const ip of data) seen.add(ip);
    }
    expect(seen.size).toBe(100);
  });

  it('beyond 4096 bytes go by TCP, whatever a client says that it takes', async () => {
    const endpoints = Array.from({ length: 300 }, (_, i) => `10.244.${i >> 8}.${i & 255}`).join('\n');
    const many = new EngineLab({ changes: [DEFAULT_NAMESPACE, serviceChange('db', { kind: 'headless', endpoints })] });
    const { bytes, packet } = await many.ask('db.default.svc.cluster.local', 'A', { edns: { udpSize: 65_535 } });
    expect([bytes.length <= 4096, packet.flag_tc]).toEqual([true, true]);
  });

  it('beyond 64 kB are cut by TCP as well', async () => {
    const all = Array.from({ length: 5000 }, (_, i) => `10.${245 + (i >> 16)}.${i >> 8}.${i & 255}`);
    const huge = serviceChange('huge', { kind: 'headless', endpoints: all.join('\n') });
    const lab = new EngineLab({ changes: [DEFAULT_NAMESPACE, huge] });
    const { bytes, packet } = await lab.ask('huge.default.svc.cluster.local', 'A', { isTcp: true });
    expect([bytes.length <= 65_535, packet.flag_tc, (packet.answers ?? []).length > 4000]).toEqual([true, true, true]);
    expect(lab.faults).toEqual([]);
  });
});

describe('a headless Service of both families', () => {
  const endpoints = '10.244.2.1 db-0\n10.244.2.2 db-0\nfd00::1 db-0\nfd00::2';
  const name = 'both.default.svc.cluster.local';
  const lab = new EngineLab({ changes: [DEFAULT_NAMESPACE, serviceChange('both', { kind: 'headless', endpoints })] });

  it.each([
    [name, 'A', ['10.244.2.1', '10.244.2.2']],
    [name, 'AAAA', ['fd00::1', 'fd00::2']],
    [`db-0.${name}`, 'A', ['10.244.2.1', '10.244.2.2']],
    [`db-0.${name}`, 'AAAA', ['fd00::1']],
    [`fd00--2.${name}`, 'AAAA', ['fd00::2']],
    [`fd00--2.${name}`, 'A', []],
  ])('%s has of %s all', async (asked, type, addresses) => {
    expect((await lab.ask(asked, type)).data.toSorted()).toEqual(addresses);
  });

  it('has an SRV record for each name, with the addresses of both', async () => {
    const { data, packet } = await lab.ask(`_http._tcp.${name}`, 'SRV', { edns: { udpSize: 4096 } });
    expect(data).toMatchObject([{ target: `db-0.${name}` }, { target: `fd00--2.${name}` }]);
    expect(packet.additionals?.filter(({ type }) => type !== 'OPT')).toHaveLength(4);
  });
});

it('that there is nothing holds for 300 s at most, whatever the TTL is', async () => {
  const lab = new EngineLab({ changes: CHANGES, ttl: 3600 });
  for (const [name, type] of [
    ['nope.default.svc.cluster.local', 'A'],
    ['web.default.svc.cluster.local', 'AAAA'],
  ] as const)
    expect((await lab.ask(name, type)).packet.authorities).toMatchObject([{ type: 'SOA', ttl: 300 }]);
  expect((await lab.ask('web.default.svc.cluster.local', 'A')).packet.answers).toMatchObject([{ ttl: 3600 }]);
});

describe('the serial', () => {
  it('is that of the last change, in answers that are kept as well', async () => {
    const lab = new EngineLab({ changes: CHANGES });
    const serial = async (name: string, type: string) => {
      const { packet } = await lab.ask(name, type);
      const soa = [...(packet.answers ?? []), ...(packet.authorities ?? [])].find(record => record.type === 'SOA');
      return (soa as { data?: { serial?: number } }).data?.serial;
    };
    const asked = [
      ['web.default.svc.cluster.local', 'AAAA'],
      ['nope.default.svc.cluster.local', 'A'],
      ['cluster.local', 'SOA'],
    ] as const;
    for (const [name, type] of asked) expect(await serial(name, type)).toBe(1_700_000_000);
    lab.wallMs += 60_000;
    lab.engine.apply([serviceChange('other', { clusterIPs: ['10.96.0.99'] })]);
    for (const [name, type] of asked) expect(await serial(name, type)).toBe(1_700_000_060);
    expect(lab.engine.readings().kept.hits).toBe(1);
  });
});

describe('other settings', () => {
  it('are followed at once, and the cluster stays known', async () => {
    const lab = new EngineLab({ changes: CHANGES });
    expect((await lab.ask('web.default.svc.cluster.local', 'A')).packet.answers).toMatchObject([{ ttl: 5 }]);
    lab.engine.configure({ ...SETTINGS, zones: ['k8s.test'], ttl: 30, perSecond: 1 });
    expect((await lab.ask('web.default.svc.k8s.test', 'A')).packet.answers).toMatchObject([{ ttl: 30 }]);
    expect(lab.engine.respond(asking('web.default.svc.k8s.test', 'A'), CLIENT, false)).toBeUndefined();
    // By TCP the sender is known to be the client.
    expect((await lab.ask('web.default.svc.k8s.test', 'A', { isTcp: true })).rcode).toBe(REFUSED);
    expect(lab.engine.readings()).toMatchObject({ rateLimited: 2, refused: 0 });
    lab.nowMs += 1000;
    expect((await lab.ask('web.default.svc.cluster.local', 'A')).rcode).toBe(REFUSED);
  });

  it('that make no sense change nothing', async () => {
    const lab = new EngineLab({ changes: CHANGES });
    expect(() => lab.engine.configure({ ...SETTINGS, clients: ['10.0.0.0/40'] })).toThrow(TypeError);
    expect(() => lab.engine.configure({ ...SETTINGS, zones: ['a..b'], ttl: 60 })).toThrow(RangeError);
    expect((await lab.ask('web.default.svc.cluster.local', 'A')).packet.answers).toMatchObject([{ ttl: 5 }]);
  });
});

describe('letters', () => {
  it('come back as they were asked, whatever they are', async () => {
    const lab = new EngineLab({ changes: CHANGES });
    const mixed = fc.array(fc.boolean(), { minLength: 60, maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(
        mixed,
        fc.constantFrom('web.default.svc.cluster.local', 'db.default.svc.cluster.local'),
        async (ups, name) => {
          const cased = [...name].map((letter, i) => (ups[i] === true ? letter.toUpperCase() : letter)).join('');
          const { packet } = await lab.ask(cased, 'A');
          expect([packet.questions?.[0]?.name, packet.answers?.[0]?.name]).toEqual([cased, cased]);
        },
      ),
    );
  });
});
