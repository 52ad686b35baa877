/**
 * npm run bench -- spine: what the iptables mode costs, as ratios in one run against the raw tool. Each figure is measured in a
 * child process in a network namespace of its own (`unshare --net`), which is gone afterwards.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../src/linux/exec.ts';
import { renderTable } from '../src/text/table.ts';

interface Row {
  readonly figure: string;
  readonly ours: string;
  readonly beside: string;
  readonly ratio: number;
  readonly target: number;
  /** Whether the ratio must be at least the target; else at most. */
  readonly isFloor?: boolean;
}

const LOAD_RUNS = 5;

/** Runs bench/spine/NAME.ts in a fresh network namespace; it prints one JSON document. */
async function measure<T>(name: string, args: readonly (string | number)[]): Promise<T> {
  const script = fileURLToPath(new URL(`./spine/${name}.ts`, import.meta.url));
  const command = ['--net', process.execPath, '--max-semi-space-size=4', script, ...args.map(String)];
  const { stdout } = await run('unshare', command, { timeoutMs: 300_000 });
  return JSON.parse(stdout) as T;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const ms = (value: number) => `${value < 10 ? value.toFixed(2) : Math.round(value)} ms`;
const mb = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;

async function fullLoad(directory: string): Promise<Row[]> {
  const services = 2000;
  const ours: number[] = [];
  const raw: number[] = [];
  for (let i = 0; i < LOAD_RUNS; i++) {
    ours.push((await measure<{ ms: number }>('full-load', [services, directory])).ms);
    raw.push((await measure<{ ms: number }>('raw-load', [join(directory, 'batches')])).ms);
  }
  const single = (await measure<{ ms: number }>('raw-load', [join(directory, 'single')])).ms;
  const [our, beside] = [median(ours), median(raw)];
  const figure = `full load, ${services} × 10`;
  return [
    {
      figure: `${figure} / raw restore of the same batches`,
      ours: ms(our),
      beside: ms(beside),
      ratio: our / beside,
      target: 1.5,
    },
    {
      figure: `one single raw restore / ${figure}`,
      ours: ms(our),
      beside: ms(single),
      ratio: single / our,
      target: 8,
      isFloor: true,
    },
  ];
}

interface OneChange {
  readonly planMs: number;
  readonly wholeMs: number;
  readonly rawMs: number;
}

async function oneChange(): Promise<Row[]> {
  const found = await measure<OneChange>('one-change', [5000]);
  const [few, many] = [
    await measure<{ ms: number }>('our-share', [500]),
    await measure<{ ms: number }>('our-share', [10_000]),
  ];
  return [
    {
      figure: 'one endpoint changed at 5000 × 10: plan and diff, ms',
      ours: ms(found.planMs),
      beside: '-',
      ratio: found.planMs,
      target: 2,
    },
    {
      figure: 'the whole / one raw restore of one chain',
      ours: ms(found.wholeMs),
      beside: ms(found.rawMs),
      ratio: found.wholeMs / found.rawMs,
      target: 2,
    },
    {
      figure: 'our process: 10 000 Services / 500',
      ours: ms(many.ms),
      beside: ms(few.ms),
      ratio: many.ms / few.ms,
      target: 1.5,
    },
  ];
}

async function memory(): Promise<Row[]> {
  const idle = await measure<{ rss: number }>('resident', [0]);
  const full = await measure<{ rss: number; afterChanges: number }>('resident', [5000]);
  const row = (figure: string, bytes: number, target: number): Row => {
    return { figure: `${figure}, MB`, ours: mb(bytes), beside: '-', ratio: bytes / 1e6, target };
  };
  return [
    row('RSS idle', idle.rss, 90),
    row('RSS at 5000 × 10', full.rss, 150),
    row('RSS after 200 more changes', full.afterChanges, 150),
  ];
}

const isMet = ({ ratio, target, isFloor = false }: Row) => (isFloor ? ratio >= target : ratio <= target);

const directory = await mkdtemp(join(tmpdir(), 'kproxy-bench-'));
try {
  const rows = [...(await fullLoad(directory)), ...(await oneChange()), ...(await memory())];
  const cells = rows.map(row => {
    const target = `${row.isFloor ? '≥' : '≤'} ${row.target}`;
    return [row.figure, row.ours, row.beside, row.ratio.toFixed(2), target, isMet(row) ? 'met' : 'MISSED'];
  });
  process.stdout.write(renderTable([['FIGURE', 'OURS', 'BESIDE', 'RATIO', 'TARGET', ''], ...cells]));
  process.exitCode = rows.every(isMet) ? 0 : 1;
} finally {
  await rm(directory, { recursive: true });
}
