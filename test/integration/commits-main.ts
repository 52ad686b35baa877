/** Run in a network namespace: prints a line when it has begun, and one after each commit of anybody to nf_tables there. Ends with its input. */
import { setTimeout as delay } from 'node:timers/promises';
import { readGeneration } from '../../src/linux/nfnetlink.ts';

process.stdin.on('end', () => process.exit()).resume();
let known = await readGeneration();
console.log('begun');
for (;;) {
  const now = await readGeneration();
  for (; known < now; known += 1) console.log('commit');
  await delay(1);
}
