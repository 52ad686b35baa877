/**
 * dns-node-client-main.ts: asks who answers at some targets, each question from a port of its own. A line on standard input is a JSON list of targets, a line on
 * standard output who answered at each, or the error's name.
 */
import { createInterface } from 'node:readline';
import { exchange, type TrafficTarget } from '../../src/lab/exchange.ts';

const TIMEOUT_MS = 900;

for await (const line of createInterface(process.stdin)) {
  const targets: (TrafficTarget & { readonly bytes?: number })[] = JSON.parse(line);
  const ask = (target: TrafficTarget & { readonly bytes?: number }, i: number) =>
    exchange({ target, word: `question ${i}`.padEnd(target.bytes ?? 0, '.'), timeoutMs: TIMEOUT_MS }).catch(
      (error: Error) => error.message,
    );
  process.stdout.write(`${JSON.stringify(await Promise.all(targets.map(ask)))}\n`);
}
process.exit();
