/**
 * one-change.ts SERVICES CHURN: from an EndpointSlice's event to the commit that carries it, for an endpoint replaced, one more and one
 * less; with CHURN > 0 while so many other slices change a second. Also the kernel's part of it. Milliseconds.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { NftSocket } from '../../src/linux/nf-tables.ts';
import { ENDPOINTS, endpointsOf } from '../spine/cluster.ts';
import { startFamily } from './family.ts';
import { type Quantiles, quantiles } from './quantiles.ts';

type Kinds = Readonly<Record<'replace' | 'grow' | 'shrink', Quantiles>>;

export interface OneChange extends Kinds {
  readonly kernel: Kinds;
}

const TRIALS = 300;
const WARM_UP = 50;
const [services = '5000', churn = '0'] = process.argv.slice(2);
const count = Number(services);

/** The socket, with the time that each commit takes. */
class TimedSocket extends NftSocket {
  ms: number[] = [];
  override async commit(batch: Buffer) {
    const startedAt = performance.now();
    const refusals = await super.commit(batch);
    this.ms.push(performance.now() - startedAt);
    return refusals;
  }
}

const kernel = new TimedSocket();
await using family = await startFamily(count, { kernel, listens: true });
const stop = new AbortController();
const churned: number[] = [];
const churning = Number(churn) > 0 ? changeOthers(Number(churn)) : Promise.resolve();

const found: Record<string, number[]> = { replace: [], grow: [], shrink: [] };
const inKernel: Record<string, number[]> = { replace: [], grow: [], shrink: [] };
for (let trial = 0; trial < TRIALS + WARM_UP; trial += 1) {
  const i = (trial * 17) % (count >> 1);
  const usual = endpointsOf(i);
  const other = `10.65.${trial >> 8}.${trial & 255}`;
  const steps = {
    replace: [...usual.slice(0, ENDPOINTS - 1), other],
    grow: [...usual, other],
    shrink: usual,
  };
  for (const [name, addresses] of Object.entries(steps)) {
    kernel.ms = [];
    const ms = await family.change(i, addresses);
    if (trial >= WARM_UP) {
      found[name]?.push(ms);
      inKernel[name]?.push(kernel.ms.reduce((a, b) => a + b, 0));
    }
    await delay(5 + Math.random() * 5);
  }
}
stop.abort();
await churning;
const of = (lists: Record<string, number[]>) =>
  Object.fromEntries(Object.entries(lists).map(([name, list]) => [name, quantiles(list)]));
process.stdout.write(
  JSON.stringify({ ...of(found), kernel: of(inKernel), churned: quantiles(churned), syncs: family.syncs }),
);

/** Slices of the other half of the Services, one endpoint each, at a steady pace. */
async function changeOthers(perSecond: number): Promise<void> {
  const startedAt = performance.now();
  for (let n = 0; !stop.signal.aborted; ) {
    const due = ((performance.now() - startedAt) / 1000) * perSecond;
    for (; n < due; n += 1) {
      const i = (count >> 1) + ((n * 13) % (count >> 1));
      const addresses = [...endpointsOf(i).slice(0, ENDPOINTS - 1), `10.66.${(n >> 8) & 255}.${n & 255}`];
      void family.change(i, addresses).then(ms => churned.push(ms));
    }
    await delay(2);
  }
}
