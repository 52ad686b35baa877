/** resident.ts SERVICES: the daemon as users start it, against an API server with so many Services of ten endpoints. Bytes. */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { run } from '../../src/linux/exec.ts';

const CHANGES = 200;
/** The daemon gives memory back a second after its first sync; then it has this long to do so. */
const SETTLE_MS = 4000;
const services = process.argv[2] ?? '0';
const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const directory = await mkdtemp(join(tmpdir(), 'kproxy-resident-'));
await run('ip', ['link', 'set', 'lo', 'up']);

const api = spawn(process.execPath, [here('./api-server.ts'), services], { stdio: ['ignore', 'pipe', 'inherit'] });
const [url] = await createInterface(api.stdout)
  [Symbol.asyncIterator]()
  .next()
  .then(({ value }) => [value as string]);
await writeFile(
  join(directory, 'kubeconfig'),
  JSON.stringify({
    clusters: [{ name: 'c', cluster: { server: url } }],
    users: [{ name: 'u', user: {} }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  }),
);
await writeFile(
  join(directory, 'config.yaml'),
  JSON.stringify({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: 'iptables',
    hostnameOverride: 'node-0',
    clusterCIDR: '10.244.0.0/16',
    clientConnection: { kubeconfig: join(directory, 'kubeconfig') },
  }),
);
const args = ['run', '--config', join(directory, 'config.yaml'), '--runtime-dir', directory];
const daemon = spawn(here('../../bin/kproxy-ts'), args, { stdio: ['ignore', 'pipe', 'inherit'] });
try {
  for await (const line of createInterface(daemon.stdout)) if (line.includes('rules are programmed')) break;
  daemon.stdout.resume();
  await delay(SETTLE_MS);
  const rss = await residentBytes(daemon.pid);
  if (services === '0') process.stdout.write(JSON.stringify({ rss }));
  else {
    await changeEndpoints();
    process.stdout.write(JSON.stringify({ rss, afterChanges: await residentBytes(daemon.pid) }));
  }
} finally {
  daemon.kill();
  api.kill();
  await rm(directory, { recursive: true });
}

async function residentBytes(pid: number | undefined): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}

async function changeEndpoints(): Promise<void> {
  for (let i = 0; i < CHANGES; i++) {
    const path = `/apis/discovery.k8s.io/v1/namespaces/bench-${i % 10}/endpointslices/svc-${i}`;
    const patch = [{ op: 'replace', path: '/endpoints/0/addresses/0', value: `10.64.0.${(i % 250) + 1}` }];
    const headers = { 'content-type': 'application/json-patch+json' };
    const response = await fetch(url + path, { method: 'PATCH', headers, body: JSON.stringify(patch) });
    if (!response.ok) throw new Error(`PATCH ${path}: ${response.status} ${await response.text()}`);
    await delay(50);
  }
  await delay(SETTLE_MS);
}
