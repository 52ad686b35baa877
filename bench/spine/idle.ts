/**
 * idle.ts SERVICES VARIANT OTHERS: what looking for drift costs an idle daemon and the tools that it starts: the share of one
 * core with the default sync period. Measured with a shorter one, so that it takes seconds. OTHERS=1: somebody else commits
 * to nf_tables before each look.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../../src/linux/exec.ts';
import { startDaemon } from './daemon.ts';

const [services = '0', variant = 'nft', others = '0'] = process.argv.slice(2);
const SETTLE_MS = 5000;
const LOOKS = 4;
const PERIOD_S = 5;
const DEFAULT_PERIOD_S = 30;
/** USER_HZ: jiffies in /proc are hundredths of a second on every Linux. */
const TICKS = 100;

await using daemon = await startDaemon({ services, variant, syncPeriod: `${PERIOD_S}s` });
await delay(SETTLE_MS);
const before = await cpuSeconds(daemon.pid);
for (let i = 0; i < LOOKS; i += 1) {
  if (others === '1') await run('nft', [i % 2 === 0 ? 'add' : 'delete', 'table', 'inet', 'others']);
  await delay(PERIOD_S * 1000);
}
const perLook = ((await cpuSeconds(daemon.pid)) - before) / LOOKS;
process.stdout.write(JSON.stringify({ seconds: perLook, share: perLook / DEFAULT_PERIOD_S }));

/** Of the process and of its children that ended: utime, stime, cutime and cstime (proc_pid_stat(5)). */
async function cpuSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / TICKS;
}
