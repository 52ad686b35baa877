/**
 * conntrack-table-main.ts COUNT: run in a network namespace of its own by conntrack-table.test.ts. Fills its connection table,
 * sweeps it, and prints what was seen and deleted, how long it took and what it cost.
 */
import { readFile } from 'node:fs/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { type Sweep, sweepFlows } from '../../src/linux/conntrack.ts';
import { encodeDelete, encodeNew, type Flow, type FlowFilter, UDP } from '../../src/linux/conntrack-messages.ts';
import { nativeReaders, openNetfilter } from '../../src/linux/nfnetlink.ts';

const [count = '1000'] = process.argv.slice(2);
const BATCH = 50;
const TCP = 6;

function flowOf(
  i: number,
  {
    protocol = UDP,
    family = 'IPv4',
    zone = 0,
  }: Partial<{ protocol: number; family: Flow['family']; zone: number }> = {},
): Flow {
  const source =
    family === 'IPv4'
      ? `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`
      : `fd00::${(i >> 16).toString(16)}:${(i & 65_535).toString(16)}`;
  const [destination, endpoint] =
    family === 'IPv4' ? ['10.96.0.10', `10.244.0.${i % 4}`] : ['fd00:96::10', `fd00:244::${i % 4}`];
  const sourcePort = 1024 + (i % 60_000);
  const common = { protocol, zone: 0 };
  return {
    family,
    id: 0,
    zone,
    status: 8, // IPS_CONFIRMED, without which the kernel takes none
    original: { ...common, source, destination, sourcePort, destinationPort: 53 },
    reply: { ...common, source: endpoint, destination: source, sourcePort: 5353, destinationPort: sourcePort },
  };
}

/** Sends requests in batches and waits for each one's last answer; the errors, by number. */
async function send(requests: Iterable<(sequence: number, isAcknowledged: boolean) => Buffer>) {
  const socket = await openNetfilter('test');
  const errors: Record<number, number> = {};
  let awaited: { readonly sequence: number; readonly resolve: () => void } | undefined;
  socket.on('message', buffer => {
    const read = nativeReaders(buffer);
    for (let at = 0; at + 20 <= buffer.length; at += Math.max((read.u32(at) + 3) & ~3, 16)) {
      const errno = -read.i32(at + 16);
      if (errno !== 0) errors[errno] = (errors[errno] ?? 0) + 1;
      if (read.u32(at + 8) === awaited?.sequence) awaited.resolve();
    }
  });
  const all = [...requests];
  for (let i = 0; i < all.length; i += BATCH) {
    const batch = all.slice(i, i + BATCH);
    const { promise, resolve } = Promise.withResolvers<void>();
    awaited = { sequence: i + batch.length, resolve };
    socket.send(Buffer.concat(batch.map((request, j) => request(i + j + 1, j === batch.length - 1))));
    await promise;
  }
  socket.close();
  return errors;
}

const insert = (flows: readonly Flow[]) =>
  send(flows.map(flow => (sequence, isAcknowledged) => encodeNew(flow, 600, { sequence, isAcknowledged })));

const entries = async () => Number(await readFile('/proc/sys/net/netfilter/nf_conntrack_count', 'utf8'));

/** A sweep with what it cost; memory that stays is measured after a collection. */
async function measure(sweep: Sweep) {
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  let peak = before;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 2);
  const start = performance.now();
  const result = await sweepFlows(sweep);
  const ms = performance.now() - start;
  clearInterval(timer);
  delays.disable();
  return {
    ...result,
    ms: Math.round(ms),
    grewMB: Math.round((peak - before) / 1e6),
    longestMs: Math.round(delays.max / 1e6),
  };
}

async function list(filter: FlowFilter): Promise<Flow[]> {
  const flows: Flow[] = [];
  await sweepFlows({
    filter,
    isStale: flow => {
      flows.push(flow);
      return false;
    },
  });
  return flows;
}

const never = () => false;
const all = { family: 'IPv4', protocol: UDP } as const;
const told: Record<string, unknown> = {};

// Few entries: what is decoded, and what is deleted.
const zoned = flowOf(3, { zone: 7 });
const few = [flowOf(1), flowOf(2), zoned, flowOf(1, { protocol: TCP }), flowOf(1, { family: 'IPv6' })];
told.inserted = await insert(few);
const [first] = (await list({ ...all, destination: '10.96.0.10', destinationPort: 53 })).filter(
  ({ original }) => original.source === '10.0.0.1',
);
if (first === undefined) throw new Error('the entry is not there');
told.first = { ...first, id: first.id !== 0 };
told.sixth = (await list({ family: 'IPv6', protocol: UDP })).map(({ original }) => original.source);
told.sixthByAddress = (
  await list({ family: 'IPv6', protocol: UDP, destination: 'fd00:96::10', destinationPort: 53 })
).length;
told.both = (await list({ family: 'both' })).map(({ family, original }) => `${family} ${original.source}`).toSorted();
told.otherId = await send([
  (sequence, isAcknowledged) => encodeDelete({ ...first, id: (first.id ^ 1) >>> 0 }, { sequence, isAcknowledged }),
]);
told.afterOtherId = await entries();
told.zoned = await sweepFlows({ filter: all, isStale: flow => flow.zone === 7 });
told.one = await sweepFlows({ filter: all, isStale: flow => flow.id === first.id });
told.rest = await entries();
told.all = await sweepFlows({ filter: all, isStale: () => true });
told.untouched = [
  (await list({ ...all, protocol: TCP })).length,
  (await list({ family: 'IPv6', protocol: UDP })).length,
];
told.ofBoth = await sweepFlows({ filter: { family: 'both' }, isStale: () => true });
told.none = await entries();

// Many.
await insert(Array.from({ length: Number(count) }, (_, i) => flowOf(i)));
await measure({ filter: all, isStale: never }); // code gets warm
told.many = await measure({ filter: all, isStale: never });
told.filtered = await measure({ filter: { ...all, destination: '10.96.0.11', destinationPort: 53 }, isStale: never });
told.stale = await measure({ filter: all, isStale: ({ reply }) => reply.source === '10.244.0.1' });
told.left = await entries();

const reason = new Error('enough');
const early = await sweepFlows({ filter: all, isStale: never, signal: AbortSignal.abort(reason) }).catch(String);
const stop = new AbortController();
let seen = 0;
const abort = () => {
  seen += 1;
  stop.abort(reason);
  return false;
};
const midway = await sweepFlows({ filter: all, isStale: abort, signal: stop.signal }).catch(String);
told.aborted = { early, midway, isShort: seen < 20_000 };
process.stdout.write(JSON.stringify(told));
