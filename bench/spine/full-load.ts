/** full-load.ts SERVICES DIRECTORY: times the first sync; leaves what it sent in DIRECTORY/batches, and as one in DIRECTORY/single. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { diff } from '../../src/backends/diff.ts';
import { batchesOf } from '../../src/backends/iptables/apply.ts';
import { render, stepsOf } from '../../src/backends/iptables/render.ts';
import { planAll } from '../../src/backends/loop.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { clusterOf, NODE } from './cluster.ts';
import { backend, startLoop } from './sync.ts';

const [services = '2000', directory = '.'] = process.argv.slice(2);
const cluster = clusterOf(Number(services));
const { loop, sync } = startLoop();
const { ms } = await sync(cluster, cluster.services.keys());
await loop.close();

const model = updateModel(emptyModel('IPv4', NODE), cluster, cluster.services.keys(), NODE);
const steps = stepsOf(diff(new Map(), planAll(backend, model)));
await mkdir(join(directory, 'batches'), { recursive: true });
await mkdir(join(directory, 'single'), { recursive: true });
let number = 0;
for (const batch of batchesOf(steps)) {
  await writeFile(join(directory, 'batches', String(number).padStart(4, '0')), render(batch));
  number += 1;
}
await writeFile(join(directory, 'single', '0'), render(steps));
process.stdout.write(JSON.stringify({ ms }));
