/** raw-load.ts DIRECTORY VARIANT: times iptables-VARIANT-restore of each file of the directory, one after the other. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../src/linux/exec.ts';

const [directory = '.', variant = 'nft'] = process.argv.slice(2);
const files = (await readdir(directory)).toSorted();
const inputs = await Promise.all(files.map(file => readFile(join(directory, file), 'utf8')));
const startedAt = performance.now();
for (const input of inputs) await run(`iptables-${variant}-restore`, ['--noflush'], { input });
process.stdout.write(JSON.stringify({ ms: performance.now() - startedAt }));
