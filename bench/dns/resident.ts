/**
 * resident.ts SERVICES WORKERS: what the daemon keeps in memory in the nftables mode, with so many workers of DNS (0 = no DNS), after each name was asked
 * for, for both families. Bytes.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { DNS_PORT, startDaemon } from '../spine/daemon.ts';
import { serviceName, untilAnswered } from './cluster-names.ts';
import { ratePerSecond, writeQueries } from './dnsperf.ts';

/** The daemon gives memory back a second after its first sync; then it has this long to do so. */
const SETTLE_MS = 5000;
const ASKING_S = 4;

const [services = 5000, workers = 1] = process.argv.slice(2).map(Number);
const directory = await mkdtemp(join(tmpdir(), 'kproxy-bench-'));
try {
  await using daemon = await startDaemon({
    services,
    variant: 'nftables',
    ...(workers > 0 && { dnsWorkers: workers }),
  });
  if (workers > 0) await askForAll();
  await delay(SETTLE_MS);
  const status = await readFile(`/proc/${daemon.pid}/status`, 'utf8');
  process.stdout.write(JSON.stringify({ rss: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024 }));
} finally {
  await rm(directory, { recursive: true });
}

/** Many times, so that each worker gets each name. */
async function askForAll(): Promise<void> {
  await untilAnswered(serviceName(services - 1), DNS_PORT);
  const names = Array.from({ length: services }, (_, i) => serviceName(i));
  await delay(SETTLE_MS);
  for (const type of ['A', 'AAAA']) {
    const queries = await writeQueries(join(directory, type), names, type);
    await ratePerSecond({ port: DNS_PORT, queries, seconds: ASKING_S });
  }
}
