/**
 * npm run bench -- cni: how long a pod waits for its network, beside Debian's containernetworking-plugins in the same run; by turns, medians, in a network
 * namespace of its own. Arguments: runs of each, how many at once.
 */
import { measure, ms, type Row, report } from './spine/rows.ts';

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
  readonly oursTogether: { readonly add: number; readonly del: number };
  readonly theirsTogether: { readonly add: number; readonly del: number };
}

const [runs = '15', many = '100'] = process.argv.slice(2);
process.env.UV_THREADPOOL_SIZE = '8'; // as bin/kproxy-ts has it
const { masq, plain, ports, version, oursTogether, theirsTogether } = await measure<Figures>('../cni/attach', [
  runs,
  many,
]);

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
]);
