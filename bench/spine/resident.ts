/** resident.ts SERVICES [VARIANT [cni]]: what the daemon keeps in memory with so many Services of ten endpoints. Bytes. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { startDaemon } from './daemon.ts';

const CHANGES = 200;
/** The daemon gives memory back a second after its first sync; then it has this long to do so. */
const SETTLE_MS = 4000;
const [services = '0', variant = 'nft', cni] = process.argv.slice(2);

await using daemon = await startDaemon({ services, variant, cni: cni === 'cni' });
await delay(SETTLE_MS);
const rss = await residentBytes(daemon.pid);
if (services === '0') process.stdout.write(JSON.stringify({ rss }));
else {
  await changeEndpoints(daemon.url);
  process.stdout.write(JSON.stringify({ rss, afterChanges: await residentBytes(daemon.pid) }));
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}

async function changeEndpoints(url: string): Promise<void> {
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
