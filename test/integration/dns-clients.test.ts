/** What programs in a pod see: dig, kdig, host, and getaddrinfo of glibc and musl, through the pod's own resolv.conf. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes } from '../../src/lab/layout.ts';
import { ExecError, run } from '../../src/linux/exec.ts';
import { describeLab, labName, servicesPath, slicesPath } from './daemon-lab.ts';

const OBJECTS = [
  {
    path: servicesPath(),
    kind: 'Service',
    apiVersion: 'v1',
    metadata: { name: 'db' },
    spec: { clusterIP: 'None', ports: [{ name: 'sql', port: 5432, protocol: 'TCP' }] },
  },
  {
    path: slicesPath(),
    kind: 'EndpointSlice',
    apiVersion: 'discovery.k8s.io/v1',
    metadata: { name: 'db-1', labels: { 'kubernetes.io/service-name': 'db' } },
    addressType: 'IPv4',
    ports: [{ name: 'sql', port: 5432, protocol: 'TCP' }],
    endpoints: [
      { addresses: ['10.244.1.201'], hostname: 'db-0', conditions: { ready: true } },
      { addresses: ['10.244.2.201'], hostname: 'db-1', conditions: { ready: true } },
      { addresses: ['10.244.2.202'], hostname: 'db-2', conditions: { ready: false } },
    ],
  },
  {
    path: servicesPath(),
    kind: 'Service',
    apiVersion: 'v1',
    metadata: { name: 'alias' },
    spec: { type: 'ExternalName', externalName: 'web.default.svc.cluster.local' },
  },
];

const WEB = 'web.default.svc.cluster.local';
const DB = 'db.default.svc.cluster.local';

describeLab('programs in a pod', () => {
  let lab: Lab;
  let directory: string;
  let muslLookup: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kproxy-test-'));
    muslLookup = join(directory, 'musl-lookup');
    const source = fileURLToPath(new URL('./musl-lookup.c', import.meta.url));
    await run('musl-gcc', ['-static', '-o', muslLookup, source]);
    lab = await createLab({ name: labName('dns'), mode: '', dns: true });
    for (const { path, ...object } of OBJECTS) await lab.api.create(path, object);
    for (const node of nodes) await vi.waitFor(() => isKnown(node.name), { timeout: 10_000 });
  });
  afterAll(async () => {
    await lab?.close();
    await rm(directory, { recursive: true });
  });

  async function isKnown(node: string): Promise<void> {
    const query = async (name: string) => (await lab.exec(node, ['kproxy-ts', 'dns', 'query', name])).stdout;
    expect(await query(DB)).toContain('NOERROR');
    expect(await query('alias.default.svc.cluster.local')).toContain('NOERROR');
  }

  /** What a program writes, in lines with single blanks, sorted. */
  async function lines(...command: [string, ...string[]]): Promise<string[]> {
    const { stdout } = await lab.exec('web-1', command).catch((error: unknown) => {
      if (error instanceof ExecError && error.exitCode > 0) return error;
      throw error;
    });
    return stdout
      .split('\n')
      .map(line => line.trim().replaceAll(/\s+/g, ' '))
      .filter(line => line !== '')
      .toSorted();
  }

  const dig = (...args: string[]) => lines('dig', '+noall', '+answer', ...args);

  test('dig: addresses of both families, by UDP and TCP', async () => {
    for (const transport of ['+notcp', '+tcp']) {
      expect(await dig(transport, WEB, 'A')).toEqual([`${WEB}. 5 IN A 10.96.0.80`]);
      expect(await dig(transport, WEB, 'AAAA')).toEqual([`${WEB}. 5 IN AAAA fd00:10:96::80`]);
    }
  });

  test('dig: a short name by the search path, in whatever case, which it keeps', async () => {
    expect(await dig('+search', 'Web')).toEqual(['Web.default.svc.cluster.local. 5 IN A 10.96.0.80']);
    expect(await dig('WEB.Default.svc.CLUSTER.local')).toEqual(['WEB.Default.svc.CLUSTER.local. 5 IN A 10.96.0.80']);
  });

  test('dig: a headless Service has its ready endpoints, each has a name', async () => {
    expect(await dig(DB)).toEqual([`${DB}. 5 IN A 10.244.1.201`, `${DB}. 5 IN A 10.244.2.201`]);
    expect(await dig(`db-1.${DB}`)).toEqual([`db-1.${DB}. 5 IN A 10.244.2.201`]);
    expect(await lines('dig', '+noall', '+comments', `db-2.${DB}`)).toContainEqual(
      expect.stringContaining('status: NXDOMAIN'),
    );
  });

  test('dig: SRV of named ports, with the addresses that it leads to', async () => {
    expect(await dig(`_http._tcp.${WEB}`, 'SRV')).toEqual([`_http._tcp.${WEB}. 5 IN SRV 0 50 80 ${WEB}.`]);
    expect(await lines('dig', '+noall', '+answer', '+additional', `_sql._tcp.${DB}`, 'SRV')).toEqual([
      `_sql._tcp.${DB}. 5 IN SRV 0 50 5432 db-0.${DB}.`,
      `_sql._tcp.${DB}. 5 IN SRV 0 50 5432 db-1.${DB}.`,
      `db-0.${DB}. 5 IN A 10.244.1.201`,
      `db-1.${DB}. 5 IN A 10.244.2.201`,
    ]);
  });

  test('dig: an ExternalName is a CNAME with what it leads to', async () => {
    expect(await dig('alias.default.svc.cluster.local')).toEqual([
      `alias.default.svc.cluster.local. 5 IN CNAME ${WEB}.`,
      `${WEB}. 5 IN A 10.96.0.80`,
    ]);
  });

  test('dig -x: cluster IPs and endpoints have their names', async () => {
    const [ptr] = await dig('-x', '10.96.0.80');
    expect(ptr).toBe(`80.0.96.10.in-addr.arpa. 5 IN PTR ${WEB}.`);
    expect(await dig('-x', '10.244.1.201')).toEqual([`201.1.244.10.in-addr.arpa. 5 IN PTR db-0.${DB}.`]);
    const [ptr6] = await dig('-x', 'fd00:10:96::80');
    expect(ptr6).toMatch(new RegExp(`ip6\\.arpa\\. 5 IN PTR ${WEB}\\.$`));
  });

  test('dig: the zone itself', async () => {
    expect(await dig('dns-version.cluster.local', 'TXT')).toEqual(['dns-version.cluster.local. 28800 IN TXT "1.1.0"']);
    const [soa = ''] = await dig('cluster.local', 'SOA');
    expect(soa.replace(/ \d{10} /, ' SERIAL ')).toBe(
      'cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. SERIAL 7200 1800 86400 5',
    );
    expect(await dig('cluster.local', 'NS')).toEqual([
      'cluster.local. 5 IN NS kube-dns.kube-system.svc.cluster.local.',
    ]);
  });

  test('dig: what is not there, and what is there without such a record', async () => {
    const status = async (...args: string[]) => (await lines('dig', '+noall', '+comments', ...args)).join('\n');
    expect(await status('nobody.default.svc.cluster.local')).toContain('status: NXDOMAIN');
    expect(await status(DB, 'AAAA')).toContain('status: NOERROR');
    expect(await status('example.com')).toContain('status: REFUSED');
  });

  test('kdig: the same, by UDP and TCP, over IPv4 and IPv6', async () => {
    for (const server of ['@10.96.0.10', '@fd00:10:96::a']) {
      for (const transport of ['+notcp', '+tcp']) {
        expect(await lines('kdig', server, transport, '+short', DB)).toEqual(['10.244.1.201', '10.244.2.201']);
        expect(await lines('kdig', server, transport, '+short', WEB, 'AAAA')).toEqual(['fd00:10:96::80']);
      }
    }
  });

  test('host: by the search path, and back', async () => {
    expect(await lines('host', 'web')).toEqual([
      `${WEB} has IPv6 address fd00:10:96::80`,
      `${WEB} has address 10.96.0.80`,
    ]);
    expect(await lines('host', '10.96.0.80')).toEqual([`80.0.96.10.in-addr.arpa domain name pointer ${WEB}.`]);
  });

  test('getent ahosts, glibc: every form of the name', async () => {
    for (const name of ['web', 'web.default', 'web.default.svc', WEB, `${WEB}.`]) {
      const addresses = (await lines('getent', 'ahosts', name)).map(line => line.split(' ')[0]);
      expect([...new Set(addresses)], name).toEqual(['10.96.0.80', 'fd00:10:96::80']);
    }
    expect(await lines('getent', 'ahosts', 'nobody')).toEqual([]);
    expect(await lines('getent', 'hosts', '10.244.1.201')).toEqual([`10.244.1.201 db-0.${DB}`]);
  });

  test('getaddrinfo, musl: the same, and many addresses', async () => {
    const nobody = 'nobody.default.svc.cluster.local.';
    const names = ['web', WEB, 'db', 'alias', nobody];
    expect(await lines(muslLookup, ...names)).toEqual(
      [
        ...['web', WEB, 'alias'].flatMap(name => [`${name}: 10.96.0.80`, `${name}: fd00:10:96::80`]),
        'db: 10.244.1.201',
        'db: 10.244.2.201',
        `${nobody}: Name does not resolve`,
      ].toSorted(),
    );
  });
});
