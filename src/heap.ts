/**
 * Gives the memory of a big load back to the system: a full collection that also compacts. It stops the process for about
 * 0.1 s at 5 000 Services of ten endpoints, so it is for quiet moments after a full sync. Does nothing without --expose-gc.
 */
export function compactHeap(): void {
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}
