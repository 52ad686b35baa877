/**
 * What `/metrics` says of names: what the workers counted, added up at each scrape. With the coverage of CoreDNS's metrics
 * (plugin/metrics, cache and forward of 1.13), and what those lack. A new set of workers counts from 0, as a new process does.
 */
import { Counter, exponentialBuckets, type Metric, Histogram as PromHistogram, type Registry } from 'prom-client';
import type { StoreChanges } from '../../watch/changes.ts';
import type { Histogram } from '../histogram.ts';
import { type DnsReadings, sumReadings, type UpstreamReadings } from '../readings.ts';

type Labels = Readonly<Record<string, string>>;
interface Value {
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
  /** Of histograms: with its suffix. */
  readonly metricName?: string;
}

type Read = (readings: DnsReadings, name: string) => readonly Value[];
type Definition = readonly [type: 'counter' | 'gauge' | 'histogram', name: string, help: string, read: Read];

const one =
  (pick: (readings: DnsReadings) => number): Read =>
  readings => [{ labels: {}, value: pick(readings) }];

const byLabel =
  (label: string, pick: (readings: DnsReadings) => Readonly<Record<string, number>>): Read =>
  readings =>
    Object.entries(pick(readings)).map(([key, value]) => ({ labels: { [label]: key }, value }));

const byServer =
  (pick: (upstream: UpstreamReadings) => number): Read =>
  ({ upstreams }) =>
    Object.entries(upstreams).map(([to, upstream]) => ({ labels: { to }, value: pick(upstream) }));

function bucketsOf(name: string, labels: Labels, { bounds, counts, sum }: Histogram): readonly Value[] {
  let count = 0;
  const buckets = [...bounds, '+Inf'].map((le, i) => {
    count += counts[i] ?? 0;
    return { labels: { ...labels, le }, value: count, metricName: `${name}_bucket` };
  });
  const total = { labels, value: count, metricName: `${name}_count` };
  return [...buckets, { labels, value: sum, metricName: `${name}_sum` }, total];
}

/** `udp IPv4 A`, with CoreDNS's numbers for the families. */
const requests: Read = readings =>
  Object.entries(readings.requests).map(([key, value]) => {
    const [proto = '', ipFamily, type = ''] = key.split(' ');
    return { labels: { proto, family: ipFamily === 'IPv6' ? '2' : '1', type }, value };
  });

const sizes =
  (pick: (readings: DnsReadings) => Readonly<Record<'udp' | 'tcp', Histogram>>): Read =>
  (readings, name) =>
    Object.entries(pick(readings)).flatMap(([proto, histogram]) => bucketsOf(name, { proto }, histogram));

const serverResponses: Read = ({ upstreams }) =>
  Object.entries(upstreams).flatMap(([to, { responses }]) =>
    Object.entries(responses).map(([rcode, value]) => ({ labels: { to, rcode }, value })),
  );

const DEFINITIONS: readonly Definition[] = [
  ['counter', 'requests_total', 'Questions, by transport, family (1 = IPv4, 2 = IPv6) and type', requests],
  ['counter', 'do_requests_total', 'Questions with the DO bit', one(({ dnssecRequests }) => dnssecRequests)],
  ['counter', 'responses_total', 'Answers, by their code', byLabel('rcode', ({ responses }) => responses)],
  ['counter', 'truncated_total', 'Answers that had no room by UDP', one(({ truncated }) => truncated)],
  ['counter', 'refused_total', 'Questions of clients that are not answered', one(({ refused }) => refused)],
  ['counter', 'rate_limited_total', "Questions beyond a client's rate", one(({ rateLimited }) => rateLimited)],
  ['counter', 'malformed_total', 'Messages that are no questions', one(({ malformed }) => malformed)],
  ['counter', 'faults_total', 'Questions that met an error of this program', one(({ faults }) => faults)],
  [
    'histogram',
    'request_duration_seconds',
    'From a question to its answer; of those that wait for nobody one of 64 is measured',
    ({ duration }, name) => bucketsOf(name, {}, duration),
  ],
  ['histogram', 'request_size_bytes', 'Questions, by transport', sizes(({ requestSize }) => requestSize)],
  ['histogram', 'response_size_bytes', 'Answers, by transport', sizes(({ responseSize }) => responseSize)],
  [
    'counter',
    'dropped_total',
    'Answers that the kernel did not take by UDP, and questions that none can be sent to',
    one(({ sockets }) => sockets.dropped),
  ],
  ['gauge', 'tcp_connections', 'Open connections', one(({ sockets }) => sockets.connections)],
  ['gauge', 'tcp_unsent_bytes', 'Answers that clients have not read', one(({ sockets }) => sockets.unsentBytes)],
  [
    'counter',
    'tcp_turned_away_total',
    'Connections beyond what there may be, in all or of one client',
    one(({ sockets }) => sockets.turnedAway),
  ],
  ['gauge', 'workers', 'Threads that answer', one(({ workers }) => workers)],
  ['gauge', 'workers_synced', 'Threads that know the cluster', one(({ synced }) => synced)],
  ['gauge', 'kept_answers', 'Answers about the cluster whose bytes are kept', one(({ kept }) => kept.entries)],
  ['counter', 'kept_answer_hits_total', 'Questions that a kept answer was for', one(({ kept }) => kept.hits)],
  ['counter', 'kept_answer_evictions_total', 'Kept answers that made room', one(({ kept }) => kept.evictions)],
  ['gauge', 'cache_entries', "Upstream servers' answers that are kept", one(({ cache }) => cache.entries)],
  ['gauge', 'cache_bytes', 'The memory that they take', one(({ cache }) => cache.bytes)],
  [
    'counter',
    'cache_requests_total',
    'Questions that were looked for there',
    one(({ cache }) => cache.hits + cache.misses),
  ],
  ['counter', 'cache_hits_total', 'Those that were found', one(({ cache }) => cache.hits)],
  ['counter', 'cache_misses_total', 'Those that were not', one(({ cache }) => cache.misses)],
  ['counter', 'cache_evictions_total', 'Answers that made room', one(({ cache }) => cache.evictions)],
  ['counter', 'cache_served_stale_total', 'Answers given though their time was over', one(({ cache }) => cache.stale)],
  ['counter', 'forward_requests_total', 'Questions to upstream servers', byServer(({ requests: count }) => count)],
  ['counter', 'forward_responses_total', "Upstream servers' answers, by their code", serverResponses],
  [
    'counter',
    'forward_failures_total',
    'Questions without an answer that can be used',
    byServer(({ failures }) => failures),
  ],
  ['gauge', 'forward_in_flight', 'Questions under way, by server', byServer(({ inFlight }) => inFlight)],
  ['gauge', 'forward_healthy', 'Threads to which the server answered last', byServer(({ healthy }) => healthy)],
  ['gauge', 'forward_loops', 'Threads to which the server led back here', byServer(({ loops }) => loops)],
  [
    'histogram',
    'forward_request_duration_seconds',
    'From a question to an upstream server to its answer',
    ({ upstreams }, name) =>
      Object.entries(upstreams).flatMap(([to, { duration }]) => bucketsOf(name, { to }, duration)),
  ],
  ['gauge', 'forward_pending', 'Questions under way', one(({ forward }) => forward.pending)],
  [
    'counter',
    'forward_max_concurrent_rejects_total',
    'Questions that were turned away because too many were under way',
    one(({ forward }) => forward.rejected),
  ],
];

/** Nothing is shown where no names are answered. @param read of each worker */
export function addDnsMetrics(registry: Registry, read: () => Promise<readonly DnsReadings[]>): DnsTimes {
  let reading: Promise<DnsReadings | undefined> | undefined;
  // One look serves all metrics of a scrape.
  const readOnce = () => {
    reading ??= read()
      .then(sumReadings)
      .finally(() => {
        reading = undefined;
      });
    return reading;
  };
  for (const [type, short, help, values] of DEFINITIONS) {
    const name = `kproxy_dns_${short}`;
    const get = async () => {
      const readings = await readOnce();
      return { name, help, type, aggregator: 'sum', values: readings === undefined ? [] : values(readings, name) };
    };
    // What Registry needs of a metric; its own classes hold their values themselves.
    registry.registerMetric({ name, help, type, aggregator: 'sum', get, reset: () => undefined } as unknown as Metric);
  }
  return dnsTimes(registry);
}

/** How long changes take until they are answered. */
export type DnsTimes = ReturnType<typeof dnsTimes>;

/** Observes how long it takes from now on until the workers answer with these changes. */
export function observeChanges(
  { update, programming }: DnsTimes,
  workers: { settled(): Promise<void> },
  { services, slices }: StoreChanges,
): void {
  if (services.length + slices.length === 0) return;
  const startedAt = performance.now();
  workers.settled().then(
    () => {
      update.observe((performance.now() - startedAt) / 1000);
      for (const { changeTriggerMs } of slices) {
        if (changeTriggerMs > 0) programming.observe(Math.max(0, Date.now() - changeTriggerMs) / 1000);
      }
    },
    () => undefined, // they ended before: others begin with everything
  );
}

function dnsTimes(registry: Registry) {
  const registers = [registry];
  return {
    deaths: new Counter({
      name: 'kproxy_dns_worker_deaths_total',
      help: 'Threads that ended though nobody ended them; others take their place',
      registers,
    }),
    programming: new PromHistogram({
      name: 'kproxy_dns_programming_duration_seconds',
      help: 'From what led to a change of endpoints, by the annotation of their slice, to the first answer with it',
      buckets: exponentialBuckets(0.001, 2, 20),
      registers,
    }),
    update: new PromHistogram({
      name: 'kproxy_dns_update_duration_seconds',
      help: 'From an event of the API server to the first answer with it',
      buckets: exponentialBuckets(0.000_25, 2, 16),
      registers,
    }),
  };
}
