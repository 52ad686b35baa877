import { setTimeout as delay } from 'node:timers/promises';

/** The collector frees buffers on a thread of its own, when it has returned. */
const FREED_MS = 200;

type MallocTrim = (pad: number) => number;
let loaded: MallocTrim | undefined;

/**
 * Gives what is free in the C library's heap back to the system (malloc_trim(3)). By itself it gives back what is free at the top only, and among the
 * thousands of buffers that a socket received there is always one that stays. Takes koffi, so it is for processes that have it loaded already.
 */
export async function trimMalloc(): Promise<void> {
  await delay(FREED_MS, undefined, { ref: false });
  const { default: koffi } = await import('koffi');
  loaded ??= koffi.load('libc.so.6').func('int malloc_trim(size_t pad)') as unknown as MallocTrim;
  loaded(0);
}
