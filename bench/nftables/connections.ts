/**
 * connections.ts SERVICES: new TCP connections a second from one client, one after the other, straight to a pod and through a cluster IP that leads to it,
 * by turns; conntrack sees both. Sockets by system calls: Node's own would cost more than the kernel's way.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { run } from '../../src/linux/exec.ts';
import { clusterOf, keyOf, NODE, sliceWith } from '../spine/cluster.ts';
import { median } from '../spine/rows.ts';
import { connectTimes, loadSockets } from './sockets.ts';
import { loadOnce, newBackend } from './sync.ts';

const CONNECTIONS = 4000;
const ROUNDS = 9;
const POD = '192.0.2.2';
const [services = '10000'] = process.argv.slice(2);

const script = fileURLToPath(new URL('./listener.ts', import.meta.url));
const pod = spawn('unshare', ['--net', process.execPath, script, POD], { stdio: ['pipe', 'pipe', 'inherit'] });
try {
  const [first] = await once(pod.stdout, 'data');
  const pid = String(first).trim();
  await run('ip', ['link', 'add', 'bench0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pid]);
  await run('ip', ['address', 'add', '192.0.2.1/24', 'dev', 'bench0']);
  await run('ip', ['link', 'set', 'bench0', 'up']);
  await run('ip', ['route', 'add', 'default', 'via', POD]);
  pod.stdin.write('go\n');
  await once(pod.stdout, 'data');

  const whole = clusterOf(Number(services));
  const { namespace, name } = keyOf(0);
  const slices = whole.slices.update(
    `${namespace}/${name}`,
    owned => owned?.map(() => sliceWith(0, [POD])) ?? whole.slices.first()!,
  );
  const cluster = { ...whole, slices };
  const model = updateModel(emptyModel('IPv4', NODE), cluster, cluster.services.keys(), NODE);
  await loadOnce(newBackend(), model);
  const sockets = await loadSockets();
  const targets = { direct: { ip: POD, port: 8080 }, service: { ip: '10.96.0.0', port: 80 } };
  const found = { direct: [] as number[], service: [] as number[] };
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const way of ['direct', 'service'] as const) {
      const seconds = connectTimes(sockets, targets[way], CONNECTIONS) / 1000;
      if (round > 0) found[way].push(CONNECTIONS / seconds);
      await delay(50);
    }
  }
  process.stdout.write(JSON.stringify({ direct: median(found.direct), service: median(found.service) }));
} finally {
  pod.kill();
}
process.exit();
