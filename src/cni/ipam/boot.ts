/** Which boot of the machine this is, and a clock that nobody can set: what was written before a restart of the agent is read with both. */
import { readFileSync } from 'node:fs';

/** Changes with every boot; network namespaces and links of another boot are gone. */
export function readBootId(path = '/proc/sys/kernel/random/boot_id'): string {
  return readFileSync(path, 'utf8').trim();
}

/** Milliseconds since the boot: CLOCK_MONOTONIC, the same in every process. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}
