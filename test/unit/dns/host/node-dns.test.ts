import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { service } from '../../../fakes/objects.ts';
import { ask, type DnsFields, NodeDnsLab, QuestionStream, WEB } from './node-dns-lab.ts';

const ADDRESS = '10.96.0.10';

describe('reloads under a stream of questions', () => {
  const changes: readonly DnsFields[] = [
    { workers: 3 },
    { workers: 1 },
    { ttl: 30 },
    { zones: ['cluster.local', 'example.org'] },
    { pods: 'verified', endpointPodNames: true },
    { namespaces: ['default'] },
    { upstreams: ['127.0.0.1:9'] },
  ];

  test('lose nothing and answer nothing else', { timeout: 20_000 }, async () => {
    await using lab = await NodeDnsLab.startSynced();
    const stream = new QuestionStream(lab.port);
    for (const fields of changes) {
      await lab.configure(fields);
      expect(await lab.ask(WEB)).toBe(ADDRESS);
    }
    expect(Object.keys(await stream.stop())).toEqual([ADDRESS]);
  });

  test('a configuration that comes while another one is made counts, and all are done', async () => {
    await using lab = await NodeDnsLab.startSynced();
    await Promise.all([1, 3, 2, 1].map(workers => lab.configure({ workers, zones: [`z${workers}.org`] })));
    expect(await lab.ask('web.default.svc.z1.org')).toBe(ADDRESS);
    // The first, and the last: those between need not be.
    expect(lab.workers.length).toBeLessThanOrEqual(1 + 1 + 3 + 1);
  });

  test('another address is listened at, and the first one no longer', async () => {
    await using lab = await NodeDnsLab.startSynced();
    await lab.configure({ listen: [`127.0.0.2:${lab.port}`] });
    expect(await lab.ask(WEB)).toBe('no answer');
    await lab.configure();
    expect(await lab.ask(WEB)).toBe(ADDRESS);
  });

  test('off and on again', async () => {
    await using lab = await NodeDnsLab.startSynced();
    await lab.configure({ enabled: false });
    expect([await lab.ask(WEB), await lab.dns.explain(WEB, 1), lab.dns.missing()]).toEqual([
      'no answer',
      undefined,
      [],
    ]);
    await lab.configure();
    expect(await lab.ask(WEB)).toBe(ADDRESS);
  });
});

test('while the Pods that other settings need are not listed, those before answer', async () => {
  await using lab = await NodeDnsLab.start();
  lab.fill('Pod');
  await lab.dns.complete;
  const stream = new QuestionStream(lab.port);
  await lab.configure({ pods: 'verified' });
  await delay(100);
  expect(lab.dns.missing()).toMatchObject([{ reason: 'no complete list yet' }]);
  expect(lab.workers).toHaveLength(2);
  lab.store.markSynced('Pod');
  await expect.poll(() => lab.dns.missing()).toEqual([]);
  expect(Object.keys(await stream.stop())).toEqual([ADDRESS]);
});

test('nowhere to answer is a part that is missing', async () => {
  await using lab = await NodeDnsLab.startSynced({ listen: [], service: 'kube-system/misspelt' });
  await expect
    .poll(() => lab.dns.missing())
    .toEqual([
      {
        part: 'dns',
        reason: 'dns.listen is empty, and there is no Service kube-system/misspelt with a cluster IP',
      },
    ]);
});

describe('a worker that dies', () => {
  test('is replaced at once, and others answer meanwhile', async () => {
    await using lab = await NodeDnsLab.startSynced({ workers: 3 });
    await lab.workers[1]?.terminate();
    expect(lab.dns.missing()).toMatchObject([{ part: 'dns', reason: 'the DNS worker ended' }]);
    expect(await lab.dns.readings()).toHaveLength(2);
    const stream = new QuestionStream(lab.port);
    await expect.poll(() => lab.workers.length).toBe(6);
    await expect.poll(() => lab.dns.missing()).toEqual([]);
    expect(Object.keys(await stream.stop())).toEqual([ADDRESS]);
    expect(await lab.dns.readings()).toHaveLength(3);
  });

  test('is no reason to leave those running that a reload replaces', { timeout: 20_000 }, async () => {
    await using lab = await NodeDnsLab.startSynced({ workers: 1 });
    const [first] = lab.workers;
    const ended = new Promise(resolve => first?.once('exit', resolve));
    const reload = lab.configure({ workers: 2 });
    await expect.poll(() => lab.workers.length).toBe(3);
    await lab.workers[1]?.terminate();
    await reload;
    await ended; // with the replacement's replacement
    lab.store.upsert('Service', service({ clusterIPs: ['10.96.0.11'] }));
    const stream = new QuestionStream(lab.port);
    await delay(50);
    expect(Object.keys(await stream.stop())).toEqual(['10.96.0.11']);
  });

  test('is replaced later and later', { timeout: 20_000 }, async () => {
    await using lab = await NodeDnsLab.startSynced({ workers: 1 });
    for (let death = 1; death <= 3; death += 1) {
      await lab.workers.at(-1)?.terminate();
      await expect.poll(() => lab.workers.length, { timeout: 5000 }).toBe(death + 1);
    }
    const waits = lab.logged.lines.flatMap(line => /take the workers' place in (\S+) s/.exec(line)?.[1] ?? []);
    expect(waits).toEqual(['0.1', '0.2', '0.4']);
  });

  test('explains nothing, and says so', async () => {
    await using lab = await NodeDnsLab.startSynced({ workers: 1 });
    const asked = lab.dns.explain(WEB, 1);
    await lab.workers[0]?.terminate();
    await Promise.allSettled([asked]);
    await expect(lab.dns.explain(WEB, 1)).rejects.toThrow('the DNS worker');
  });
});

describe('an address that cannot be had', () => {
  test('that somebody has is named once, tried again, and others are answered', { timeout: 10_000 }, async () => {
    await using lab = await NodeDnsLab.startSynced();
    const other = createServer().listen(lab.port, '127.0.0.3');
    await once(other, 'listening');
    const where = `127.0.0.3:${lab.port}`;
    await lab.configure({ listen: [`127.0.0.1:${lab.port}`, where, `192.0.2.1:${lab.port}`] });
    expect(await lab.ask(WEB)).toBe(ADDRESS);
    const reasons = lab.dns.missing().map(({ reason }) => reason);
    expect(reasons).toHaveLength(2);
    expect(reasons[0]).toMatch(/^127\.0\.0\.3 port \d+: .*EADDRINUSE/);
    expect(reasons[1]).toMatch(/^192\.0\.2\.1 port \d+: .*EADDRNOTAVAIL/);
    await delay(1200);
    expect(lab.logged.count(/no names at 127\.0\.0\.3/)).toBe(1);
    other.close();
    await expect.poll(() => lab.dns.missing().length, { timeout: 3000 }).toBe(1);
    // Neither is the UDP socket of the first try left behind.
    await lab.configure();
    const socket = createSocket('udp4').bind(lab.port, '127.0.0.3');
    await once(socket, 'listening');
    socket.close();
  });

  test("the Node's, while it has none, is one", async () => {
    await using lab = await NodeDnsLab.startSynced();
    await lab.configure({ listen: [`node:${lab.port}`] });
    expect(lab.dns.missing()).toEqual([{ part: 'dns', reason: 'the Node has no InternalIP to answer at yet' }]);
  });
});

describe('resolv.conf', () => {
  test('is followed as it changes, is empty and vanishes', { timeout: 10_000 }, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'kproxy-dns-'));
    const resolvConf = join(directory, 'resolv.conf');
    await using lab = await NodeDnsLab.startSynced({ enabled: false });
    const servers = async () => (await lab.dns.readings()).map(({ upstreams }) => Object.keys(upstreams).join(' '));
    await writeFile(resolvConf, 'nameserver 127.0.0.1\n');
    await lab.configure({ resolvConf, workers: 1, upstreams: null });
    expect(await servers()).toEqual(['127.0.0.1:53']);
    await writeFile(resolvConf, 'nameserver 127.0.0.9\n');
    await expect.poll(servers).toEqual(['127.0.0.9:53']);
    await rm(resolvConf);
    await expect.poll(() => lab.logged.count(/those known before are asked/)).toBe(1);
    expect(await servers()).toEqual(['127.0.0.9:53']);
    await writeFile(resolvConf, '# none\n');
    await expect.poll(() => lab.logged.count(/it names none that is an address; those known before are asked/)).toBe(1);
    expect(await servers()).toEqual(['127.0.0.9:53']);
    await lab.configure({ enabled: false });
    await lab.configure({ resolvConf, workers: 1, upstreams: null });
    expect(lab.logged.count(/it names none that is an address; other names are refused/)).toBe(1);
    expect(await lab.ask('example.com')).toBe('REFUSED');
    await rm(directory, { recursive: true });
  });
});

describe('the cluster', () => {
  test('that is not known yet is SERVFAIL, and then answered', async () => {
    await using lab = await NodeDnsLab.start();
    expect(await lab.ask(WEB)).toBe('SERVFAIL');
    expect(lab.dns.missing()).toEqual([{ part: 'dns', reason: 'no complete list yet' }]);
    lab.fill();
    await expect.poll(() => lab.ask(WEB)).toBe(ADDRESS);
    expect(lab.dns.missing()).toEqual([]);
  });

  test('whose Namespaces we may not list has names of Services all the same', async () => {
    await using lab = await NodeDnsLab.start();
    lab.fill();
    lab.store.replace('Namespace', []); // as OptionalWatch does after 403
    await lab.dns.complete;
    expect(await lab.ask(WEB)).toBe(ADDRESS);
  });

  test('is not said to be answered before it is, however soon it is known', async () => {
    await using lab = await NodeDnsLab.start({ enabled: false });
    lab.fill();
    const configured = lab.configure();
    await expect.poll(() => lab.dns.missing(), { interval: 1 }).toEqual([]);
    expect(await lab.ask(WEB)).toBe(ADDRESS);
    await configured;
  });

  test('that changes a thousand times quickly is answered as it is in the end', async () => {
    await using lab = await NodeDnsLab.startSynced();
    for (let i = 0; i < 1000; i += 1) {
      lab.store.upsert('Service', service({ clusterIPs: [`10.97.${i >> 8}.${i & 255}`] }));
      if (i % 100 === 0) await delay(1);
    }
    await expect.poll(() => lab.ask(WEB)).toBe('10.97.3.231');
    const stream = new QuestionStream(lab.port);
    await delay(50);
    expect(Object.keys(await stream.stop())).toEqual(['10.97.3.231']);
  });
});

describe('an end', () => {
  test('in the middle of a reload comes, and nothing listens any more', async () => {
    const lab = await NodeDnsLab.startSynced();
    const reload = lab.configure({ workers: 3 });
    await lab[Symbol.asyncDispose]();
    await reload;
    expect(await lab.ask(WEB)).toBe('no answer');
    await lab.configure({ workers: 1 });
    expect(await ask(WEB, lab.port)).toBe('no answer');
  });

  test('before anything is known comes too', async () => {
    const lab = await NodeDnsLab.start();
    const stop = lab.configure({ workers: 3 });
    await lab[Symbol.asyncDispose]();
    await stop;
    expect(await lab.ask(WEB)).toBe('no answer');
  });
});
