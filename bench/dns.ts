/**
 * npm run bench -- dns: what names cost. Answers a second beside the least that a Node responder can do, in the same run, with dnsperf as the client;
 * memory; from a change to its answer. Everything in a process and a network namespace of its own.
 */
import type { Quantiles } from './nftables/quantiles.ts';
import { mb, measure, ms, type Row, report } from './spine/rows.ts';

const SERVICES = 5000;

interface Rates {
  readonly ours: number;
  readonly minimal: number;
  readonly p50: number;
  readonly p99: number;
  readonly minimalP99: number;
  readonly calmP99: number;
  readonly resyncP99: number;
  readonly tcp: number;
  readonly headless: number;
}

const perSecond = (value: number) => `${Math.round(value / 1000)} k/s`;
const floor = (figure: string, value: number, target: number): Row => {
  return { figure, ours: perSecond(value), beside: '-', ratio: value / 1000, target, isFloor: true };
};
const limit = (figure: string, value: number, target: number): Row => {
  return { figure: `${figure}, ms`, ours: ms(value), beside: '-', ratio: value, target };
};

async function rates(): Promise<Row[]> {
  const { ours, minimal, p99, minimalP99, calmP99, resyncP99, tcp, headless } = await measure<Rates>('../dns/rates', [
    SERVICES,
  ]);
  const figure = 'names of Services, one worker / a minimal responder';
  return [
    { figure, ours: perSecond(ours), beside: perSecond(minimal), ratio: ours / minimal, target: 0.85, isFloor: true },
    { figure: '  p99 at half that load, ms', ours: ms(p99), beside: ms(minimalP99), ratio: p99, target: 1 },
    {
      figure: 'p99 at 2000 a second, all listed again / calm',
      ours: ms(resyncP99),
      beside: ms(calmP99),
      ratio: resyncP99 / calmP99,
    },
    floor('by TCP, thousands a second', tcp, 20),
    floor('headless, 100 endpoints, thousands a second', headless, 20),
  ];
}

async function memory(): Promise<Row[]> {
  const resident = async (workers: number) =>
    (await measure<{ rss: number }>('../dns/resident', [SERVICES, workers])).rss;
  const [none, one, two] = [await resident(0), await resident(1), await resident(2)];
  const cells = (value: number, beside: number) => ({ ours: mb(value), beside: mb(beside) });
  return [
    { figure: 'proxy and DNS, one worker, 5000 × 10, MB', ...cells(one, none), ratio: one / 1e6, target: 170 },
    { figure: '  one worker more, MB', ...cells(two, one), ratio: (two - one) / 1e6, target: 25 },
  ];
}

async function changes(): Promise<Row[]> {
  const { p50, p99 } = await measure<Quantiles>('../dns/one-change', [SERVICES]);
  return [limit('from a change to its answer, p50', p50, 5), limit('  p99', p99, 5)];
}

report([...(await rates()), ...(await memory()), ...(await changes())]);
