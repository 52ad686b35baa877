/** our-share.ts SERVICES: Model, plan and diff of one replaced endpoint, with a kernel that takes no time; median of many. */
import { patch } from '../../src/backends/diff.ts';
import { clusterOf, withRevision } from './cluster.ts';
import { backend, startLoop } from './sync.ts';

const TRIALS = 600;
/** Until V8 has compiled what is measured. */
const WARM_UP = 200;
const services = Number(process.argv[2] ?? 500);
const { loop, sync } = startLoop({
  ...backend,
  read: async () => new Map(),
  apply: async (changes, current) => ({ plan: patch(current, changes), failures: [] }),
});
let cluster = clusterOf(services);
await sync(cluster, cluster.services.keys());
const times: number[] = [];
for (let trial = 1; trial <= TRIALS; trial++) {
  const next = withRevision(cluster, (trial * 7) % services, trial);
  cluster = next.cluster;
  const { planMs } = await sync(cluster, [next.dirty]);
  if (trial > WARM_UP) times.push(planMs);
}
await loop.close();
process.stdout.write(JSON.stringify({ ms: times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] }));
