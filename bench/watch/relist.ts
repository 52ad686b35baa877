/**
 * relist.ts SERVICES HOW: the store filled over a watch, then everything listed again; HOW: `WatchList` or `pages` of our reflector,
 * `copy` = each page parsed whole and all of it trimmed before the store takes it, as reflectors usually do. Bytes.
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { compactHeap } from '../../src/heap.ts';
import { run } from '../../src/linux/exec.ts';
import { type ApiSource, startApiSource } from '../../src/watch/api-source.ts';
import { systemClock } from '../../src/watch/clock.ts';
import { anonymousKubeConfig } from '../../src/watch/kubeconfig.ts';
import { Store } from '../../src/watch/store.ts';
import { HttpTransport } from '../../src/watch/transport.ts';
import { TRIMMERS } from '../../src/watch/trim.ts';

const [services = '0', how = 'WatchList'] = process.argv.slice(2);
const PATHS = { Service: '/api/v1/services', EndpointSlice: '/apis/discovery.k8s.io/v1/endpointslices' } as const;

const { signal } = new AbortController();

interface Page {
  readonly metadata: { readonly continue?: string };
  readonly items: readonly unknown[];
}

/** Resident bytes: now, or the most since the mark was reset. */
function resident(field: 'VmRSS' | 'VmHWM'): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await delay(5);
}

/** The body of an answer, parsed whole. */
async function readJson(transport: HttpTransport, path: string): Promise<unknown> {
  const { body } = await transport.get(path, { signal });
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

/** Lists as it is usually done. */
async function listByCopy(transport: HttpTransport, store: Store, kind: 'Service' | 'EndpointSlice'): Promise<void> {
  const objects = [];
  for (let token = ''; ; ) {
    const more = token === '' ? '' : `&continue=${token}`;
    const page = (await readJson(transport, `${PATHS[kind]}?limit=500${more}`)) as Page;
    for (const item of page.items) {
      const { object } = TRIMMERS[kind](item);
      if (object !== undefined) objects.push(object);
    }
    token = page.metadata.continue ?? '';
    if (token === '') break;
  }
  store.replace(kind, objects as never[]);
}

async function relist(url: string, store: Store, source: ApiSource): Promise<void> {
  if (how === 'copy') {
    const loadKubeConfig = () => anonymousKubeConfig(url);
    await using transport = new HttpTransport({ loadKubeConfig, userAgent: 'bench', clock: systemClock });
    await Promise.all([listByCopy(transport, store, 'Service'), listByCopy(transport, store, 'EndpointSlice')]);
    return;
  }
  process.kill(api.pid ?? 0, 'SIGUSR2');
  await until(() => source.stats.Service.relists > 0 && source.stats.EndpointSlice.relists > 0);
}

await run('ip', ['link', 'set', 'lo', 'up']);
const script = fileURLToPath(new URL('../spine/api-server.ts', import.meta.url));
const api = spawn(process.execPath, [script, services, how], { stdio: ['ignore', 'pipe', 'inherit'] });
try {
  const first = await createInterface(api.stdout)[Symbol.asyncIterator]().next();
  const url = String(first.value);
  const store = new Store();
  const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
  await using source = await startApiSource({ server: url, store, log: silent, signal });
  await store.synced;
  await delay(500);
  compactHeap();
  await delay(500);
  let dirty = 0;
  store.onDirty(changes => {
    dirty += changes.services.size;
  });
  const before = resident('VmRSS');
  writeFileSync('/proc/self/clear_refs', '5'); // the mark of the most is now (proc(5))
  const beganMs = performance.now();
  await relist(url, store, source);
  const ms = performance.now() - beganMs;
  const peak = resident('VmHWM');
  process.stdout.write(JSON.stringify({ before, growth: peak - before, dirty, ms }));
} finally {
  api.kill();
}
