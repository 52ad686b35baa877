/**
 * full-load.ts SERVICES DIRECTORY VARIANT: times the first sync, from a complete store to all rules programmed; leaves what it
 * sent in DIRECTORY/batches, a file a call, and all of it as one call in DIRECTORY/single.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { diff } from '../../src/backends/diff.ts';
import { batchesOf, wholeTables } from '../../src/backends/iptables/apply.ts';
import { render, stepsOf } from '../../src/backends/iptables/render.ts';
import { planAll } from '../../src/backends/route-changes.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { clusterOf, NODE } from './cluster.ts';
import { backendOf, startLoop } from './sync.ts';

const [services = '2000', directory = '.', variant = 'nft'] = process.argv.slice(2);
const isLegacy = variant === 'legacy';
const backend = backendOf(isLegacy ? 'legacy' : 'nft');
const cluster = clusterOf(Number(services));
const { loop, sync } = startLoop(backend);
const { ms, planMs, applyMs } = await sync(cluster, cluster.services.keys());
await loop.close();

const model = updateModel(emptyModel('IPv4', NODE), cluster, cluster.services.keys(), NODE);
const steps = stepsOf(diff(new Map(), planAll(backend, model)));
const calls = isLegacy ? wholeTables(steps) : [...batchesOf(steps)];
await mkdir(join(directory, 'batches'), { recursive: true });
await mkdir(join(directory, 'single'), { recursive: true });
for (const [i, call] of calls.entries())
  await writeFile(join(directory, 'batches', String(i).padStart(4, '0')), render(call));
await writeFile(join(directory, 'single', '0'), render(wholeTables(steps).flat()));
process.stdout.write(JSON.stringify({ ms, planMs, applyMs }));
