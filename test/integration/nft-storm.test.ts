/**
 * A storm of new connections while endpoints come and go as fast as the kernel commits: none is refused, none is lost, and no packet leaves the node with a Service's
 * address.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createLab, type Lab, type ProbeTarget } from '../../src/lab/lab.ts';
import { nodes } from '../../src/lab/layout.ts';
import { epochMs } from '../../src/lab/probe.ts';
import type { IPFamily } from '../../src/watch/objects.ts';
import { describeLab, labName } from './daemon-lab.ts';
import type { StormReport, StormRequest } from './nft-storm-main.ts';

const COMMITS = 2000;
const MAIN = fileURLToPath(new URL('./nft-storm-main.ts', import.meta.url));
const [nodeA] = nodes;

const SERVICES = {
  IPv4: [1, 2].map(n => ({ name: `s${n}`, clusterIP: `10.96.9.${n}`, nodePort: 30_900 + n })),
  IPv6: [1, 2].map(n => ({ name: `s${n}`, clusterIP: `fd00:10:96::9${n}`, nodePort: 30_900 + n })),
};

/** Counts what leaves the node with a Service's address as its destination. */
const WATCH: Readonly<Record<IPFamily, string>> = {
  IPv4: 'table ip watch { chain out { type filter hook postrouting priority 300; ip daddr 10.96.0.0/12 counter; }; }\n',
  IPv6: 'table ip6 watch { chain out { type filter hook postrouting priority 300; ip6 daddr fd00:10:96::/108 counter; }; }\n',
};

async function startStorm(lab: Lab, request: StormRequest) {
  const args = ['netns', 'exec', lab.netns(nodeA.name), process.execPath, MAIN, JSON.stringify(request)];
  const child = spawn('ip', args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...lab.env(nodeA.name) },
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe('ready');
  return {
    run: async (): Promise<StormReport> => {
      const ended = once(child, 'exit');
      child.stdin.write('go\n');
      const { value } = await lines.next();
      child.stdin.end();
      expect(await ended).toEqual([0, null]);
      return JSON.parse(value ?? '');
    },
  };
}

function* clients(lab: Lab, family: IPFamily): Iterable<readonly [from: string, to: ProbeTarget]> {
  const common = { port: 80, count: 1e9, concurrency: 2, timeoutMs: 5000 };
  const address = family === 'IPv4' ? nodeA.address : nodeA.address6;
  for (const service of SERVICES[family]) {
    yield [lab.pods[0]!.name, { ...common, address: service.clusterIP }];
    yield [nodeA.name, { ...common, address: service.clusterIP }];
    yield ['client', { ...common, address, port: service.nodePort }];
  }
}

describeLab('a packet storm while endpoints change', () => {
  test.each<IPFamily>(['IPv4', 'IPv6'])(
    `${COMMITS} commits lose no connection, %s`,
    { timeout: 180_000 },
    async family => {
      await using lab = await createLab({ name: labName('storm'), daemons: false, pods: 6 });
      if (family === 'IPv6' && !lab.hasIPv6) return;
      await lab.exec(nodeA.name, ['nft', '-f', '-'], { input: WATCH[family] });
      const seed = Date.now();
      const pods = lab.pods.map(pod => (family === 'IPv4' ? pod.ip : pod.ip6));
      const storm = await startStorm(lab, { family, commits: COMMITS, seed, pods, services: SERVICES[family] });
      const probes = await Promise.all([...clients(lab, family)].map(([from, to]) => lab.startProbe(from, to)));
      const { failures, ms } = await storm.run();
      const doneAt = epochMs();
      for (const probe of probes) probe.stop();
      const reports = await Promise.all(probes.map(({ report }) => report));

      expect(failures, `seed ${seed}`).toEqual([]);
      expect(ms).toHaveLength(COMMITS);
      for (const report of reports) {
        expect(report.failures, `seed ${seed}`).toEqual([]);
        expect(report.replies.length).toBeGreaterThan(100);
        expect(Math.max(...report.replies.map(({ at }) => at)), 'traffic to the end').toBeGreaterThan(doneAt - 1000);
        // A client that lost its first packet sends it again after 1 s.
        expect(Math.max(...report.replies.map(reply => reply.ms)), `seed ${seed}: the slowest connection`).toBeLessThan(
          900,
        );
      }
      const table = family === 'IPv4' ? 'ip' : 'ip6';
      const { stdout } = await lab.exec(nodeA.name, ['nft', 'list', 'table', table, 'watch']);
      expect(stdout).toContain('counter packets 0 bytes 0');
    },
  );
});
