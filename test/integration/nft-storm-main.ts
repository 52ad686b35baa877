/**
 * nft-storm-main.ts REQUEST: run in a node's network namespace by nft-storm.test.ts. Commits so many random sets of endpoints of a few Services, one
 * after the other without a pause, and prints how long each took.
 */
import fc from 'fast-check';
import type { Plan } from '../../src/backends/backend.ts';
import { diff } from '../../src/backends/diff.ts';
import { createNftablesBackend } from '../../src/backends/nftables/backend.ts';
import type { NftObject } from '../../src/backends/nftables/objects.ts';
import { changesSince, planAll } from '../../src/backends/route-changes.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import type { Model } from '../../src/endpoints/types.ts';
import { NftSocket } from '../../src/linux/nf-tables.ts';
import type { IPFamily } from '../../src/watch/objects.ts';
import { NFTABLES_OPTIONS, NFTABLES_OPTIONS_V6, service, slice, sliceEndpoint, snapshot } from '../fakes/objects.ts';

export interface StormRequest {
  readonly family: IPFamily;
  readonly commits: number;
  readonly seed: number;
  readonly pods: readonly string[];
  readonly services: readonly { readonly name: string; readonly clusterIP: string; readonly nodePort: number }[];
}

export interface StormReport {
  readonly failures: readonly string[];
  /** Milliseconds of each commit, plan and diff included. */
  readonly ms: readonly number[];
}

const node = { name: 'node-a', zone: '' };
const { family, commits, seed, pods, services }: StormRequest = JSON.parse(process.argv[2] ?? '');
const kernel = new NftSocket();
const options = family === 'IPv4' ? NFTABLES_OPTIONS : NFTABLES_OPTIONS_V6;
const backend = createNftablesBackend(() => options, { family, kernel });

function snapshotOf(sets: ReadonlyMap<string, readonly string[]>) {
  return snapshot(
    services.map(({ name, clusterIP, nodePort }) =>
      service({ name, clusterIPs: [clusterIP], ports: [{ name: '', protocol: 'TCP', port: 80, nodePort }] }),
    ),
    services.map(({ name }) => {
      const endpoints = (sets.get(name) ?? []).map(ip => sliceEndpoint(ip));
      return slice({
        name: `${name}-1`,
        serviceName: name,
        family,
        endpoints,
        ports: [{ name: '', protocol: 'TCP', port: 8080 }],
      });
    }),
  );
}

const sets = new Map(services.map(({ name }) => [name, pods.slice(0, 1)]));
const first = snapshotOf(sets);
let model: Model = updateModel(emptyModel(family, node), first, first.services.keys(), node);
let plan: Plan<NftObject> = new Map();
({ plan } = await backend.apply(diff(plan, planAll(backend, model)), plan));
process.stdout.write('ready\n');
// Until the clients are at work.
await new Promise(resolve => process.stdin.once('data', resolve));

const change = fc.record({
  name: fc.constantFrom(...services.map(({ name }) => name)),
  // Any number but none; the same pod with several weights isn't asked for here.
  endpoints: fc.uniqueArray(fc.constantFrom(...pods), { minLength: 1, maxLength: pods.length }),
});
const failures: string[] = [];
const ms: number[] = [];
for (const { name, endpoints } of fc.sample(change, { numRuns: commits, seed })) {
  sets.set(name, endpoints);
  const begun = performance.now();
  const previous = model;
  model = updateModel(previous, snapshotOf(sets), [`default/${name}`], node);
  const changes = changesSince(backend, { previous, current: plan, model });
  const applied = await backend.apply(changes, plan);
  plan = applied.plan;
  ms.push(performance.now() - begun);
  failures.push(...applied.failures.map(({ error }) => error.message));
}
process.stdout.write(`${JSON.stringify({ failures, ms } satisfies StormReport)}\n`);
kernel.close();
process.stdin.destroy();
