/**
 * full-load.ts SERVICES ENDPOINTS [FILE]: times the first sync, from a Model to all of it committed; leaves the kernel's ruleset in FILE.
 */
import { writeFile } from 'node:fs/promises';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { compactHeap } from '../../src/heap.ts';
import { run } from '../../src/linux/exec.ts';
import { clusterOf, NODE } from '../spine/cluster.ts';
import { loadable } from './ruleset.ts';
import { loadOnce, newBackend } from './sync.ts';

const [services = '5000', endpoints = '10', file] = process.argv.slice(2);
const cluster = clusterOf(Number(services), Number(endpoints));
const model = updateModel(emptyModel('IPv4', NODE), cluster, cluster.services.keys(), NODE);
// What building the Model left behind isn't ours to collect.
compactHeap();
const { ms, report } = await loadOnce(newBackend(), model);
if (file !== undefined) {
  const { stdout } = await run('nft', ['list', 'table', 'ip', 'kproxy-ts'], { timeoutMs: 300_000 });
  await writeFile(file, loadable(stdout));
}
process.stdout.write(JSON.stringify({ ms, planMs: report.planMs, applyMs: report.applyMs }));
process.exit();
