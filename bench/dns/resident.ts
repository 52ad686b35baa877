/** resident.ts SERVICES WORKERS: what the daemon keeps in memory in the nftables mode, with so many workers of DNS (0 = no DNS). Bytes. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { DNS_PORT, startDaemon } from '../spine/daemon.ts';
import { serviceName, untilAnswered } from './cluster-names.ts';

/** The daemon gives memory back a second after its first sync; then it has this long to do so. */
const SETTLE_MS = 5000;

const [services = 5000, workers = 1] = process.argv.slice(2).map(Number);
await using daemon = await startDaemon({ services, variant: 'nftables', ...(workers > 0 && { dnsWorkers: workers }) });
if (workers > 0) await untilAnswered(serviceName(services - 1), DNS_PORT);
await delay(SETTLE_MS);
const status = await readFile(`/proc/${daemon.pid}/status`, 'utf8');
process.stdout.write(JSON.stringify({ rss: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024 }));
