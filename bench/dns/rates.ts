/** rates.ts SERVICES: how many names the daemon's one worker answers a second, beside a minimal responder; how long they take at half that load. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { quantiles } from '../nftables/quantiles.ts';
import { DNS_PORT, startDaemon } from '../spine/daemon.ts';
import { median } from '../spine/rows.ts';
import { headlessName, putHeadless, serviceName, untilAnswered } from './cluster-names.ts';
import { latencies, ratePerSecond, writeQueries } from './dnsperf.ts';

const MINIMAL_PORT = 5399;
const ROUNDS = 3;
const SECONDS = 5;
/** A second: so few that dnsperf leaves the main thread a processor. */
const FEW = 2000;
const HEADLESS_ENDPOINTS = 100;

const services = Number(process.argv[2] ?? 5000);
const directory = await mkdtemp(join(tmpdir(), 'kproxy-bench-'));
try {
  await using daemon = await startDaemon({ services, variant: 'nftables', dnsWorkers: 1 });
  await putHeadless(daemon.url, HEADLESS_ENDPOINTS);
  await untilAnswered(headlessName, DNS_PORT);
  const names = Array.from({ length: services }, (_, i) => serviceName(i));
  const queries = await writeQueries(join(directory, 'services'), names);
  const headless = await writeQueries(join(directory, 'headless'), [headlessName]);
  const minimal = spawn(process.execPath, [
    fileURLToPath(new URL('./minimal.ts', import.meta.url)),
    String(MINIMAL_PORT),
  ]);
  await once(minimal.stdout, 'data');
  const rates: { ours: number[]; minimal: number[] } = { ours: [], minimal: [] };
  await ratePerSecond({ port: DNS_PORT, queries, seconds: 2 });
  for (let i = 0; i < ROUNDS; i += 1) {
    rates.minimal.push(await ratePerSecond({ port: MINIMAL_PORT, queries, seconds: SECONDS }));
    rates.ours.push(await ratePerSecond({ port: DNS_PORT, queries, seconds: SECONDS }));
  }
  const ours = median(rates.ours);
  const half = { port: DNS_PORT, queries, seconds: SECONDS, rate: Math.round(ours / 2) };
  const beside = quantiles(await latencies({ ...half, port: MINIMAL_PORT }));
  const { p50, p99 } = quantiles(await latencies(half));
  const few = { ...half, rate: FEW };
  const calm = quantiles(await latencies(few));
  const relisting = setInterval(() => daemon.relist(), 1000);
  const resynced = quantiles(await latencies(few));
  clearInterval(relisting);
  minimal.kill();
  const tcp = await ratePerSecond({ port: DNS_PORT, queries, seconds: SECONDS, transport: 'tcp' });
  const ofHeadless = await ratePerSecond({ port: DNS_PORT, queries: headless, seconds: SECONDS, hasEdns: true });
  process.stdout.write(
    JSON.stringify({
      ours,
      minimal: median(rates.minimal),
      p50,
      minimalP99: beside.p99,
      p99,
      calmP99: calm.p99,
      resyncP99: resynced.p99,
      tcp,
      headless: ofHeadless,
    }),
  );
} finally {
  await rm(directory, { recursive: true });
}
