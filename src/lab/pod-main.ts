/**
 * The small program that the lab runs inside its namespaces, bundled as dist/lab-pod.mjs: `echo IDENTITY PORT` is a pod,
 * `probe REQUEST` makes connections until it has made enough or its standard input ends, `probes` does so for each line of its
 * standard input, `talk ADDRESS PORT` holds one,
 * `traffic REQUEST` makes them until its standard input ends,
 * `wait URL MS` waits for a 200. IDENTITY and REQUEST are JSON. `echo`, `probe` and `traffic` write a word to descriptor 3: when they
 * serve, when the first connection has its result, and when the held connections are open too.
 */
import { closeSync, writeSync } from 'node:fs';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { finished } from 'node:stream/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { startEcho } from './echo.ts';
import { probe } from './probe.ts';
import { Traffic } from './traffic.ts';

async function echo([identity = '{}', port = '0']: string[]): Promise<void> {
  await startEcho(JSON.parse(identity), Number(port));
  process.on('SIGTERM', () => process.exit(0));
  announce();
}

function announce(): void {
  writeSync(3, 'ready');
  closeSync(3);
}

async function runProbe([request = '{}']: string[]): Promise<void> {
  let isAnnounced = false;
  const onResult = () => {
    if (!isAnnounced) announce();
    isAnnounced = true;
  };
  const stop = new AbortController();
  process.stdin.resume().once('end', () => stop.abort());
  const report = await probe(JSON.parse(request), { onResult, signal: stop.signal });
  process.stdin.destroy();
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

/** Lines of `{id, request}` in, lines of `{id, report}` out, in any order. */
async function runProbes(): Promise<void> {
  for await (const line of createInterface(process.stdin)) {
    const { id, request } = JSON.parse(line);
    void probe(request).then(report => process.stdout.write(`${JSON.stringify({ id, report })}\n`));
  }
  process.exit(0); // nobody waits for what is under way
}

async function runTraffic([request = '{}']: string[]): Promise<void> {
  const traffic = new Traffic(JSON.parse(request));
  const stopped = finished(process.stdin.resume());
  await traffic.ready();
  announce();
  await stopped;
  process.stdout.write(`${JSON.stringify(await traffic.stop())}\n`);
}

/** Standard input to the connection and back, until either closes. */
function talk([address = '', port = '0']: string[]): void {
  const socket = connect({ host: address, port: Number(port), noDelay: true });
  process.stdin.pipe(socket).pipe(process.stdout);
  socket.on('error', error => {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  });
  socket.on('close', () => process.stdin.destroy());
}

async function waitForHttp([url = '', ms = '0']: string[]): Promise<void> {
  const deadline = performance.now() + Number(ms);
  let last = '';
  while (performance.now() < deadline) {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(1000) });
      last = `answers ${response.status}: ${(await response.text()).slice(0, 200)}`;
      if (response.status === 200) return;
    } catch (error) {
      last = error instanceof Error ? String(error.cause ?? error) : String(error);
    }
    await delay(10);
  }
  process.stderr.write(`${url} ${last}\n`);
  process.exitCode = 1;
}

const [subcommand, ...args] = process.argv.slice(2);
if (subcommand === 'echo') await echo(args);
else if (subcommand === 'probe') await runProbe(args);
else if (subcommand === 'probes') await runProbes();
else if (subcommand === 'talk') talk(args);
else if (subcommand === 'traffic') await runTraffic(args);
else if (subcommand === 'wait') await waitForHttp(args);
else throw new Error(`unknown subcommand: ${subcommand}`);
