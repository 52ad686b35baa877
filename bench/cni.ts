/**
 * npm run bench -- cni: how long a pod waits for its network, beside Debian's containernetworking-plugins in the same run; by turns, medians, in a network
 * namespace of its own. Arguments: runs of each, how many at once.
 */
import type { Quantiles } from './nftables/quantiles.ts';
import { mb, measure, ms, type Row, report } from './spine/rows.ts';

const [LEASES, PODS] = [10_000, 5000];

interface Pair {
  readonly ours: number;
  readonly theirs: number;
}
interface Both {
  readonly add: Pair;
  readonly del: Pair;
}
interface Figures {
  readonly masq: Both;
  readonly plain: Both;
  readonly ports: Both;
  readonly version: Pair;
  /** kB */
  readonly resident: Pair;
  readonly oursTogether: { readonly add: number; readonly del: number };
  readonly theirsTogether: { readonly add: number; readonly del: number };
}

interface Growth {
  readonly few: number;
  readonly many: number;
  /** Bytes */
  readonly heapPerPod: number;
}

const [runs = '41', many = '100'] = process.argv.slice(2);
process.env.UV_THREADPOOL_SIZE = '8'; // as bin/kproxy-ts has it
const { masq, plain, ports, version, resident, oursTogether, theirsTogether } = await measure<Figures>(
  '../cni/attach',
  [runs, many],
);
const growth = await measure<Growth>('../cni/growth', [LEASES, PODS, 40]);
const [withAgent, without] = [
  await measure<{ rss: number }>('resident', [0, 'nftables', 'cni']),
  await measure<{ rss: number }>('resident', [0, 'nftables']),
];
const { quiet, busy } = await measure<Record<'quiet' | 'busy', Quantiles>>('../cni/beside-rules', [many, 10]);

const row = (figure: string, { ours, theirs }: Pair, target: number): Row => ({
  figure,
  ours: ms(ours),
  beside: ms(theirs),
  ratio: ours / theirs,
  target,
});
report([
  row('ADD / bridge+host-local with ipMasq', masq.add, 0.5),
  row('ADD / bridge+host-local without', plain.add, 1.1),
  row('ADD with a hostPort / bridge with ipMasq + portmap', ports.add, 0.25),
  row('DEL / bridge+host-local with ipMasq', masq.del, 0.3),
  row('DEL / bridge+host-local without', plain.del, 1.1),
  row(`${many} ADDs at once, with ipMasq, all`, { ours: oursTogether.add, theirs: theirsTogether.add }, 0.5),
  row(`${many} DELs at once, with ipMasq, all`, { ours: oursTogether.del, theirs: theirsTogether.del }, 0.5),
  row('VERSION / bridge', version, 1.5),
  {
    figure: '  its memory',
    ours: `${resident.ours} kB`,
    beside: `${resident.theirs} kB`,
    ratio: resident.ours / resident.theirs,
    target: 1.5,
  },
  row(`ADD with ${LEASES} leases / with none`, { ours: growth.many, theirs: growth.few }, 1.2),
  {
    figure: `heap after ${PODS} pods, kB a pod`,
    ours: `${Math.round(growth.heapPerPod)} bytes`,
    beside: '-',
    ratio: growth.heapPerPod / 1000,
    target: 2,
  },
  {
    figure: 'daemon with the agent / without, RSS',
    ours: mb(withAgent.rss),
    beside: mb(without.rss),
    ratio: withAgent.rss / without.rss,
  },
  {
    figure: `event to commit beside ${many} ADDs and DELs, p99, ms`,
    ours: ms(busy.p99),
    beside: `${ms(quiet.p99)} without`,
    ratio: busy.p99,
    target: 30,
  },
]);
