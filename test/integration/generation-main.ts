/**
 * generation-main.ts: run in a network namespace of its own by generation.test.ts. Lets both families' backends write, then
 * others, and prints what each was told about drift and how many tables it read for that.
 */
import { diff } from '../../src/backends/diff.ts';
import { NftGeneration } from '../../src/backends/iptables/generation.ts';
import { toolsOf } from '../../src/backends/iptables/tools.ts';
import { run } from '../../src/linux/exec.ts';
import { readGeneration } from '../../src/linux/nfnetlink.ts';
import { backendOf, type Cluster, clusterOf, planOf } from './kernel-loop.ts';

const generation = new NftGeneration({
  read: readGeneration,
  onUnavailable: error => {
    throw error;
  },
});

function start(family: 'IPv4' | 'IPv6') {
  let reads = 0;
  const counting: typeof run = (file, args, options) => {
    if (file.endsWith('-save')) reads += 1;
    return run(file, args, options);
  };
  const io = { tools: toolsOf('nft', family), run: counting, generation };
  const backend = backendOf(io);
  let plan = new Map();
  return {
    io,
    read: async () => {
      plan = await backend.read();
    },
    set: async (cluster: Cluster) => {
      const applied = await backend.apply(diff(plan, planOf(io, cluster)), plan);
      plan = applied.plan;
      return applied.failures.length;
    },
    ask: async () => {
      reads = 0;
      return { hasDrifted: await backend.hasDrifted?.(plan), reads };
    },
  };
}

const families = ['IPv4', 'IPv6'] as const;
const both = families.map(start);
const told: Record<string, unknown> = {};
const ask = async (when: string) => {
  told[when] = await Promise.all(both.map(family => family.ask()));
};
const each = (act: (family: (typeof both)[number], i: number) => Promise<unknown>) => Promise.all(both.map(act));
const cluster = (i: number, revision: number, services = 400) =>
  clusterOf(families[i] ?? 'IPv4', { services, endpoints: 4, revision });

await each(family => family.read());
await ask('nothing written');
await each((family, i) => family.set(cluster(i, 0)));
await ask('both wrote, at the same time, in batches');
for (let revision = 1; revision < 5; revision += 1) await each((family, i) => family.set(cluster(i, revision)));
await each((family, i) => family.set(cluster(i, 0, 300)));
await ask('both changed something, again and again');
await run('iptables-nft', ['-t', 'nat', '-N', 'OTHERS']);
await ask('somebody else made a chain, and we had written since the tables were read');
await each(family => family.read());
await run('nft', ['add', 'table', 'inet', 'others']);
await ask('somebody else made a table, and we had not written');
await ask('the same again');
await run('iptables-nft', ['-t', 'nat', '-F', 'KUBE-SERVICES']);
await ask('somebody else flushed a chain of ours in IPv4');
process.stdout.write(JSON.stringify(told));
