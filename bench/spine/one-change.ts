/** one-change.ts SERVICES: an endpoint replaced, beside a raw restore of one chain in the same table, by turns; medians. */
import { run } from '../../src/linux/exec.ts';
import { clusterOf, withRevision } from './cluster.ts';
import { startLoop } from './sync.ts';

const TRIALS = 21;
const services = Number(process.argv[2] ?? 5000);
let cluster = clusterOf(services);
const { loop, sync } = startLoop();
await sync(cluster, cluster.services.keys());

const { stdout } = await run('iptables-nft-save', ['-t', 'nat']);
const name = /^:(KUBE-SVC-\S+)/m.exec(stdout)?.[1] ?? '';
const rules = stdout.split('\n').filter(line => line.startsWith(`-A ${name} `));
const oneChain = ['*nat', `:${name} - [0:0]`, ...rules, 'COMMIT', ''].join('\n');

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const times = { planMs: [] as number[], wholeMs: [] as number[], rawMs: [] as number[] };
for (let trial = 1; trial <= TRIALS; trial++) {
  const next = withRevision(cluster, trial * 7, trial);
  cluster = next.cluster;
  const report = await sync(cluster, [next.dirty]);
  times.planMs.push(report.planMs);
  times.wholeMs.push(report.ms);
  const startedAt = performance.now();
  await run('iptables-nft-restore', ['--noflush'], { input: oneChain });
  times.rawMs.push(performance.now() - startedAt);
}
await loop.close();
process.stdout.write(
  JSON.stringify({ planMs: median(times.planMs), wholeMs: median(times.wholeMs), rawMs: median(times.rawMs) }),
);
