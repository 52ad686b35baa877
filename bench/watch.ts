/**
 * npm run bench -- watch: what a complete list of a cluster that is already known costs in memory: how much the resident size grows
 * while it goes on, beside the usual way in the same run. Each figure in a child process with the launcher's settings.
 */
import { fileURLToPath } from 'node:url';
import { run } from '../src/linux/exec.ts';
import { renderTable } from '../src/text/table.ts';

interface Relist {
  readonly before: number;
  readonly growth: number;
  readonly dirty: number;
  readonly ms: number;
}

const SERVICES = 5000;
const RUNS = 3;
/** Of the growth that a second copy of everything costs. */
const TARGET = 0.5;
const SCRIPT = fileURLToPath(new URL('./watch/relist.ts', import.meta.url));
/** As bin/kproxy-ts sets them. */
const ENV = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '131072', MALLOC_MMAP_THRESHOLD_: '65536' };

/** The run of median growth. */
async function measure(how: 'WatchList' | 'pages' | 'copy'): Promise<Relist> {
  const runs: Relist[] = [];
  for (let n = 0; n < RUNS; n += 1) {
    const command = [
      '--net',
      process.execPath,
      '--max-semi-space-size=4',
      '--expose-gc',
      SCRIPT,
      String(SERVICES),
      how,
    ];
    const { stdout } = await run('unshare', command, { timeoutMs: 120_000, env: ENV });
    runs.push(JSON.parse(stdout));
  }
  const [, median] = runs.toSorted((a, b) => a.growth - b.growth);
  if (median === undefined) throw new Error('no runs');
  return median;
}

const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
const copy = await measure('copy');
let isMet = true;
const rows: string[][] = [];
for (const how of ['WatchList', 'pages'] as const) {
  const { before, growth, dirty, ms } = await measure(how);
  const ratio = growth / copy.growth;
  const isRowMet = ratio <= TARGET && dirty === 0;
  isMet &&= isRowMet;
  const [ours, beside] = [growth, copy.growth].map(mb);
  rows.push([
    how,
    mb(before),
    ours ?? '',
    beside ?? '',
    ratio.toFixed(2),
    `≤ ${TARGET}`,
    `${Math.round(ms)} ms`,
    String(dirty),
  ]);
  rows.at(-1)?.push(isRowMet ? 'met' : 'MISSED');
}
const head = ['RELIST OF 5000 × 10 BY', 'BEFORE', 'GROWS BY', 'BESIDE A COPY', 'RATIO', 'TARGET', 'TAKES', 'DIRTY', ''];
process.stdout.write(renderTable([head, ...rows]));
process.exitCode = isMet ? 0 : 1;
