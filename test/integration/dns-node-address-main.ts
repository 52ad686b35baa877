/**
 * dns-node-address-main.ts NAME PORT serve|wait ADDRESS...: stands in for the DNS server of a node, which answers as the lab's pods do, at exactly these addresses, and has
 * their packets delivered to it. Prints `ready` (with `wait`, it gives no sign of life before it is told to); each line on standard input is a command, whose outcome is printed as a line of JSON.
 */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { createInterface } from 'node:readline';
import { NodeAddresses } from '../../src/dns/node-address/node-addresses.ts';
import { removeNodeAddresses } from '../../src/dns/node-address/removal.ts';
import { SignsOfLife } from '../../src/dns/node-address/signs-of-life.ts';
import { answerDatagrams, serve, startEcho } from '../../src/lab/echo.ts';
import { createLogger } from '../../src/log.ts';

const BEAT_MS = 200;
const [name = '', port = '', begin = '', ...ips] = process.argv.slice(2);
const identity = { pod: name, node: '', ip: '' };
const log = createLogger({ level: 'info', destination: process.stderr });
const signs = new SignsOfLife();
const node = new NodeAddresses({ log, signs });
const served = (list: readonly string[]) => list.map(ip => ({ ip, port: Number(port) }));

await node.set(served(ips));
const sockets = await Promise.all(ips.flatMap(ip => [openUdp(ip), openTcp(ip)]));
let timer: NodeJS.Timeout | undefined;
if (begin === 'serve') await serveNow();
process.stdout.write('ready\n');

function serveNow(): Promise<void> {
  timer = setInterval(beat, BEAT_MS);
  return signs.give();
}

function beat(): void {
  signs.give().catch((error: Error) => log.warn(error.message));
}

async function openUdp(ip: string): Promise<Socket> {
  const socket = createSocket({
    type: ip.includes(':') ? 'udp6' : 'udp4',
    ipv6Only: ip.includes(':'),
    reusePort: true,
  });
  answerDatagrams(socket, identity);
  socket.bind(Number(port), ip);
  await once(socket, 'listening');
  return socket;
}

async function openTcp(ip: string): Promise<Server> {
  const server = createServer(socket => serve(socket, identity));
  server.listen({ host: ip, port: Number(port), ipv6Only: true, reusePort: true });
  await once(server, 'listening');
  return server;
}

/** Milliseconds of each call, sorted. */
async function timed(count: number, call: () => Promise<void>): Promise<{ p50: number; p99: number }> {
  const times: number[] = [];
  for (let i = 0; i < count; i += 1) {
    const begin = performance.now();
    await call();
    times.push(performance.now() - begin);
  }
  times.sort((a, b) => a - b);
  return { p50: times[count >> 1]!, p99: times[Math.floor(count * 0.99)]! };
}

const commands: Readonly<Record<string, (args: readonly string[]) => Promise<unknown>>> = {
  withdraw: async () => {
    clearInterval(timer);
    await node.withdraw();
  },
  serve: serveNow,
  // As when the threads that have the sockets end, and the process doesn't.
  deafen: async () => {
    for (const socket of sockets) socket.close();
  },
  // As a program that listens at all addresses of its node.
  listen: ([at = '']) => startEcho(identity, Number(at)).then(() => undefined),
  set: list => node.set(served(list)),
  measure: async () => ({
    beat: await timed(1000, () => signs.give()),
    set: await timed(100, () => node.set(served(ips))),
  }),
  // Its sockets go on answering.
  close: () => node[Symbol.asyncDispose](),
  remove: () => removeNodeAddresses(),
};

for await (const line of createInterface(process.stdin)) {
  const [command = '', ...args] = line.split(' ');
  const outcome = await commands[command]!(args).then(
    value => ({ value: value ?? null }),
    (error: Error) => ({ error: error.message }),
  );
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
process.exit();
