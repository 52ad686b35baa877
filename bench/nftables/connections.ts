/**
 * connections.ts SERVICES: new TCP connections a second from one client, one after the other, straight to a pod and through a cluster IP that leads to it,
 * by turns; conntrack sees both. The client is another pod of the node, then the node itself, whose source is rewritten. Sockets by system calls: Node's own would cost more than the
 * kernel's way.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { run } from '../../src/linux/exec.ts';
import { clusterOf, keyOf, NODE, sliceWith } from '../spine/cluster.ts';
import { median } from '../spine/rows.ts';
import { connectTimes, loadSockets } from './sockets.ts';
import { loadOnce, newBackend } from './sync.ts';

const CONNECTIONS = 2000;
const ROUNDS = 20;
const GATEWAY = '192.0.2.1';
const SERVER = '10.244.1.2';
const CLIENT = '10.244.1.3';
const TARGETS = { direct: { ip: SERVER, port: 8080 }, service: { ip: '10.96.0.0', port: 80 } };
const [services = '10000'] = process.argv.slice(2);

interface Pod {
  readonly child: ChildProcess;
  /** Writes a line, and resolves to the next of the answers. */
  ask(line: string): Promise<string>;
}

/** A process in a network namespace of its own, at the other end of a link of this one. */
async function startPod(script: string, ip: string): Promise<Pod> {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn('unshare', ['--net', process.execPath, file, ip, GATEWAY], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async () => String((await lines.next()).value);
  const link = `bench-${script.slice(2, 8)}`;
  await run('ip', ['link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', await next()]);
  await run('ip', ['address', 'add', `${GATEWAY}/32`, 'dev', link]);
  await run('ip', ['link', 'set', link, 'up']);
  await run('ip', ['route', 'add', ip, 'dev', link]);
  const ask = (line: string) => {
    child.stdin.write(`${line}\n`);
    return next();
  };
  await ask('go');
  return { child, ask };
}

async function loadServices(): Promise<void> {
  const whole = clusterOf(Number(services));
  const { namespace, name } = keyOf(0);
  const slices = whole.slices.update(
    `${namespace}/${name}`,
    owned => owned?.map(() => sliceWith(0, [SERVER])) ?? whole.slices.first()!,
  );
  const cluster = { ...whole, slices };
  await loadOnce(newBackend(), updateModel(emptyModel('IPv4', NODE), cluster, cluster.services.keys(), NODE));
}

/** Connections a second by both ways, and the median of their ratios: rounds that follow each other meet the same machine. */
async function compare(connect: (target: typeof TARGETS.direct) => number | Promise<number>) {
  const found: { direct: number; service: number; ratio: number }[] = [];
  for (let round = 0; round <= ROUNDS; round += 1) {
    const direct = (CONNECTIONS / (await connect(TARGETS.direct))) * 1000;
    await delay(20);
    const service = (CONNECTIONS / (await connect(TARGETS.service))) * 1000;
    await delay(20);
    if (round > 0) found.push({ direct, service, ratio: service / direct });
  }
  const of = (name: 'direct' | 'service' | 'ratio') => median(found.map(values => values[name]));
  return { direct: of('direct'), service: of('service'), ratio: of('ratio') };
}

const pods: Pod[] = [];
try {
  await writeFile('/proc/sys/net/ipv4/ip_forward', '1');
  const server = await startPod('./listener.ts', SERVER);
  pods.push(server);
  const client = await startPod('./client.ts', CLIENT);
  pods.push(client);
  await run('ip', ['route', 'add', 'default', 'via', SERVER]);
  await loadServices();
  const fromPod = await compare(async ({ ip, port }) => Number(await client.ask(`${ip} ${port} ${CONNECTIONS}`)));
  const sockets = await loadSockets();
  const fromNode = await compare(target => connectTimes(sockets, target, CONNECTIONS));
  process.stdout.write(JSON.stringify({ fromPod, fromNode }));
} finally {
  for (const { child } of pods) child.kill();
}
process.exit();
