/**
 * npm run bench -- spine: what the iptables mode costs, as ratios in one run against the raw tool. Each figure is measured in a
 * child process in a network namespace of its own (`unshare --net`), which is gone afterwards.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mb, measure, median, ms, type Row, report } from './spine/rows.ts';

const LOAD_RUNS = 5;

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

const directory = await mkdtemp(join(tmpdir(), 'kproxy-bench-'));
try {
  report([...(await fullLoad(directory)), ...(await oneChange()), ...(await memory())]);
} finally {
  await rm(directory, { recursive: true });
}
