/**
 * beside-rules.ts COUNT ROUNDS: from an EndpointSlice's event to its commit, of 5 000 Services, while COUNT pods get their network at once and lose it, ROUNDS
 * times; and while none does. The agent is a thread of the process that writes the rules, as in the daemon. Quantiles in milliseconds, as JSON.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { NftSocket } from '../../src/linux/nf-tables.ts';
import { startFamily } from '../nftables/family.ts';
import { quantiles } from '../nftables/quantiles.ts';
import { ENDPOINTS, endpointsOf } from '../spine/cluster.ts';
import { directory, removeDirectory, startAgent } from './agent.ts';

const SERVICES = 5000;
const QUIET_CHANGES = 200;
const [count = '100', rounds = '5'] = process.argv.slice(2);

await using family = await startFamily(SERVICES, { kernel: new NftSocket(), listens: true });
const agent = await startAgent();
const runtime = spawn(process.execPath, [fileURLToPath(new URL('./at-once.ts', import.meta.url)), directory, count], {
  stdio: ['pipe', 'pipe', 'inherit'],
});
const lines = createInterface(runtime.stdout)[Symbol.asyncIterator]();
try {
  await lines.next();
  const quiet: number[] = [];
  for (let n = 0; n < QUIET_CHANGES; n += 1) await oneChange(n, quiet);
  const busy: number[] = [];
  let isOver = false;
  const pods = everyRound().finally(() => {
    isOver = true;
  });
  for (let n = QUIET_CHANGES; !isOver; n += 1) await oneChange(n, busy);
  await pods;
  process.stdout.write(JSON.stringify({ quiet: quantiles(quiet), busy: quantiles(busy) }));
} finally {
  runtime.stdin.end();
  await agent[Symbol.asyncDispose]();
  removeDirectory();
}

async function everyRound(): Promise<void> {
  for (let round = 0; round < Number(rounds); round += 1) {
    runtime.stdin.write('go\n');
    const { done } = await lines.next();
    if (done === true) throw new Error('the runtime ended');
  }
}

async function oneChange(n: number, into: number[]): Promise<void> {
  const i = (n * 17) % SERVICES;
  const other = `10.65.${(n >> 8) & 255}.${n & 255}`;
  into.push(await family.change(i, [...endpointsOf(i).slice(0, ENDPOINTS - 1), other]));
  await delay(2 + Math.random() * 5);
}
