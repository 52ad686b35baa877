/**
 * npm run bench -- nftables [PART]: what the nftables mode costs, beside the raw limit in the same run: `nft -f` of the same ruleset, a connection without a
 * Service. Each figure is measured in a process and a network namespace of its own. PART: load, change, connect or daemon.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { OneChange } from './nftables/one-change.ts';
import type { Quantiles } from './nftables/quantiles.ts';
import { mb, measure, median, ms, type Row, report } from './spine/rows.ts';

const LOAD_RUNS = 5;
const LOADS = [
  { services: 5000, endpoints: 10 },
  { services: 10_000, endpoints: 10 },
  { services: 44_000, endpoints: 2 },
  { services: 5000, endpoints: 50 },
] as const;

/** By turns, so that what else the machine does meets both. */
async function oneLoad(services: number, endpoints: number, directory: string) {
  const file = join(directory, `${services}x${endpoints}.nft`);
  const ours: number[] = [];
  const raw: number[] = [];
  for (let i = 0; i < LOAD_RUNS; i += 1) {
    const args = [services, endpoints, ...(i === 0 ? [file] : [])];
    ours.push((await measure<{ ms: number }>('../nftables/full-load', args)).ms);
    raw.push((await measure<{ ms: number }>('../nftables/raw-load', [file])).ms);
  }
  return { ours: median(ours), raw: median(raw) };
}

async function fullLoads(): Promise<Row[]> {
  const directory = await mkdtemp(join(tmpdir(), 'kproxy-bench-'));
  try {
    const rows: Row[] = [];
    const found = new Map<string, number>();
    for (const { services, endpoints } of LOADS) {
      const { ours, raw } = await oneLoad(services, endpoints, directory);
      const size = `${services} × ${endpoints}`;
      found.set(size, ours);
      const target = services === 10_000 ? {} : { target: 0.5 };
      rows.push({
        figure: `full load, ${size} / nft -f`,
        ours: ms(ours),
        beside: ms(raw),
        ratio: ours / raw,
        ...target,
      });
    }
    const [few = 0, many = 0] = [found.get('5000 × 10'), found.get('10000 × 10')];
    const figure = 'full load, 10000 × 10 / 5000 × 10';
    return [...rows, { figure, ours: ms(many), beside: ms(few), ratio: many / few, target: 2.3 }];
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** A figure in ms that is its own limit. */
const limit = (figure: string, value: number, target?: number): Row => {
  return {
    figure: `${figure}, ms`,
    ours: ms(value),
    beside: '-',
    ratio: value,
    ...(target !== undefined && { target }),
  };
};

async function changes(): Promise<Row[]> {
  const quiet = await measure<OneChange>('../nftables/one-change', [5000, 0]);
  const busy = await measure<OneChange>('../nftables/one-change', [5000, 100]);
  const [few, many] = [
    await measure<Quantiles>('../nftables/our-share', [500]),
    await measure<Quantiles>('../nftables/our-share', [10_000]),
  ];
  const rows = (['replace', 'grow', 'shrink'] as const).flatMap(name => [
    limit(`event to commit, ${name}, p50`, quiet[name].p50, 3),
    limit(`  p99`, quiet[name].p99, 10),
    limit(`  of which in the kernel, p50`, quiet.kernel[name].p50),
    limit(`  with 100 changes/s, p99`, busy[name].p99, 30),
  ]);
  const figure = 'our process: 10 000 Services / 500';
  return [...rows, { figure, ours: ms(many.p50), beside: ms(few.p50), ratio: many.p50 / few.p50, target: 1.5 }];
}

async function connections(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const rate of [0, 100]) {
    const { p50, p99 } = await measure<Quantiles>('../nftables/first-connection', [5000, rate]);
    const figure = `published to first connection${rate === 0 ? '' : `, ${rate} changes/s`}`;
    rows.push(limit(`${figure}, p50`, p50, 10), limit('  p99', p99, 50));
  }
  const { fromPod, fromNode } = await measure<{ fromPod: Rates; fromNode: Rates }>('../nftables/connections', [10_000]);
  const cells = ({ service, direct, ratio }: Rates) => {
    return { ours: `${Math.round(service)}/s`, beside: `${Math.round(direct)}/s`, ratio };
  };
  return [
    ...rows,
    {
      figure: 'new connections from a pod: cluster IP / straight',
      ...cells(fromPod),
      target: 0.92,
      isFloor: true,
    },
    { figure: '  from the node itself (masqueraded)', ...cells(fromNode) },
  ];
}

/** Connections a second. */
interface Rates {
  readonly service: number;
  readonly direct: number;
  readonly ratio: number;
}

async function daemon(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [rate, target] of [
    [0, 0.2],
    [100, 15],
  ] as const) {
    const { rss, share } = await measure<{ rss: number; share: number }>('../nftables/daemon-load', [5000, rate]);
    if (rate === 0)
      rows.push({ figure: 'RSS at 5000 × 10, MB', ours: mb(rss), beside: '-', ratio: rss / 1e6, target: 120 });
    const figure = `daemon, ${rate} changes/s: % of a core`;
    rows.push({ figure, ours: `${(share * 100).toFixed(2)} %`, beside: '-', ratio: share * 100, target });
  }
  return rows;
}

const PARTS: Readonly<Record<string, () => Promise<Row[]>>> = {
  load: fullLoads,
  change: changes,
  connect: connections,
  daemon,
};
const [wanted] = process.argv.slice(2);
const rows: Row[] = [];
for (const [name, part] of Object.entries(PARTS))
  if (wanted === undefined || wanted === name) rows.push(...(await part()));
report(rows);
