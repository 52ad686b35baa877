/**
 * daemon-load.ts SERVICES RATE: what the daemon keeps in memory, and the share of a core that it takes, idle or while RATE slices a second change at
 * the API server.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { startDaemon } from '../spine/daemon.ts';
import { SliceChanger } from './slice-changer.ts';

/** The daemon gives memory back a second after its first sync; then it has this long to do so. */
const SETTLE_MS = 5000;
/** Until V8 has compiled what runs all the time. */
const WARM_UP_MS = 20_000;
const MEASURED_MS = 60_000;
/** USER_HZ: jiffies in /proc are hundredths of a second on every Linux. */
const TICKS = 100;

const [services = '5000', rate = '0'] = process.argv.slice(2);
await using daemon = await startDaemon({ services, variant: 'nftables' });
await delay(SETTLE_MS);
const rss = await residentBytes(daemon.pid);
const changer = new SliceChanger(daemon.url, Number(services));
const stop = new AbortController();
const changing = rate === '0' ? Promise.resolve() : changer.run(Number(rate), stop.signal);
await delay(WARM_UP_MS);
const [before, startedAt] = [await cpuSeconds(daemon.pid), performance.now()];
await delay(MEASURED_MS);
const share = (((await cpuSeconds(daemon.pid)) - before) * 1000) / (performance.now() - startedAt);
stop.abort();
await changing;
process.stdout.write(JSON.stringify({ rss, share }));

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}

/** utime and stime (proc_pid_stat(5)). */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}
