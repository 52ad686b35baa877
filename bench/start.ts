/**
 * npm run bench -- start: how long a start takes at 5 000 Services of ten endpoints, beside the raw tool with the same rules; what
 * looking for drift costs afterwards. By turns, medians; each run in a network namespace of its own.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measure, median, ms, type Row, report } from './spine/rows.ts';

const SERVICES = 5000;
const RUNS = 5;

interface Variant {
  readonly name: 'nft' | 'legacy';
  /** What the raw tool gets: the batches that we send, or everything in one call. */
  readonly raw: 'batches' | 'single';
  readonly beside: string;
}

const VARIANTS: readonly Variant[] = [
  { name: 'nft', raw: 'batches', beside: 'raw restore of the same batches' },
  { name: 'legacy', raw: 'single', beside: 'one raw restore' },
];

/** From a complete store to all rules programmed: Model, plan, read, diff, render, apply. */
async function syncOf({ name, raw, beside }: Variant, parent: string): Promise<Row> {
  const directory = join(parent, name);
  const ours: number[] = [];
  const bare: number[] = [];
  for (let i = 0; i < RUNS; i += 1) {
    ours.push((await measure<{ ms: number }>('full-load', [SERVICES, directory, name])).ms);
    bare.push((await measure<{ ms: number }>('raw-load', [join(directory, raw), name])).ms);
  }
  const [our, other] = [median(ours), median(bare)];
  const figure = `start → synced, ${SERVICES} × 10, iptables-${name} / ${beside}`;
  return { figure, ours: ms(our), beside: ms(other), ratio: our / other, target: 1.3 };
}

/** Everything that an operator waits for: Node, configuration, tools, the API server's lists, both families. */
async function processOf({ name }: Variant): Promise<Row> {
  const times: number[] = [];
  for (let i = 0; i < 3; i += 1) times.push((await measure<{ ms: number }>('process-start', [SERVICES, name])).ms);
  const figure = `process start → synced against the API server, ${name}, s`;
  return { figure, ours: ms(median(times)), beside: '-', ratio: median(times) / 1000 };
}

async function idleOf(name: string, others: 0 | 1): Promise<Row> {
  const { seconds, share } = await measure<{ seconds: number; share: number }>('idle', [SERVICES, name, others]);
  const when = others === 1 ? ', others commit to nf_tables all the time' : '';
  const figure = `looking for drift every 30 s, ${name}${when}: % of a core`;
  const target = name === 'nft' && others === 0 ? { target: 0.5 } : {};
  return { figure, ours: ms(seconds * 1000), beside: '-', ratio: share * 100, ...target };
}

const directory = await mkdtemp(join(tmpdir(), 'kproxy-bench-'));
try {
  const rows: Row[] = [];
  for (const variant of VARIANTS) rows.push(await syncOf(variant, directory));
  for (const variant of VARIANTS) rows.push(await processOf(variant));
  for (const [name, others] of [
    ['nft', 0],
    ['nft', 1],
    ['legacy', 0],
  ] as const)
    rows.push(await idleOf(name, others));
  report(rows);
} finally {
  await rm(directory, { recursive: true });
}
