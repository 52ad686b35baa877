/** Whether a kube-proxy lives on this node: by its process, where that can be seen, and by what answers on its ports. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import type { Configuration, ListenAddress } from '../config/configuration.ts';
import { SERVER_NAME } from '../http/routes.ts';

export interface KubeProxySearch {
  /** Where it may answer, beside its own defaults: it had the same configuration before us, most likely. */
  readonly addresses: Pick<Configuration, 'healthz' | 'metrics'>;
  /** /proc, or a stand-in. */
  readonly proc?: string;
  /** Of each answer. */
  readonly timeoutMs?: number;
}

/** kube-proxy's own. */
const DEFAULTS = { healthz: { address: '127.0.0.1', port: 10_256 }, metrics: { address: '127.0.0.1', port: 10_249 } };
const TIMEOUT_MS = 3000;
/** What /proxyMode says. */
const MODES = /^(?:iptables|ipvs|nftables|userspace)\n?$/;

/**
 * What shows that a kube-proxy lives here, one text each; none = none does. A process in another PID namespace isn't seen (a pod without hostPID sees its own
 * alone), but its ports are, which belong to the network namespace; a kube-proxy in another network namespace writes other rules, and doesn't count.
 */
export async function findKubeProxy({
  addresses,
  proc = '/proc',
  timeoutMs = TIMEOUT_MS,
}: KubeProxySearch): Promise<string[]> {
  const healthz = distinct([addresses.healthz, DEFAULTS.healthz]);
  const metrics = distinct([addresses.metrics, DEFAULTS.metrics]);
  const [processes, ...answers] = await Promise.all([
    findProcesses(proc),
    ...metrics.map(where => ask({ where, path: '/proxyMode', timeoutMs, isIts: body => MODES.test(body) })),
    ...healthz.map(where => ask({ where, path: '/healthz', timeoutMs, isIts: isHealth })),
  ]);
  return [...processes, ...answers.filter(answer => answer !== undefined)];
}

function distinct(places: readonly ListenAddress[]): readonly ListenAddress[] {
  const reachable = places.map(({ address, port }) => {
    const local = { '0.0.0.0': '127.0.0.1', '::': '::1' }[address];
    return { address: local ?? address, port };
  });
  return [...new Map(reachable.map(place => [`${place.address} ${place.port}`, place])).values()];
}

interface Question {
  readonly where: ListenAddress;
  readonly path: string;
  readonly timeoutMs: number;
  readonly isIts: (body: string) => boolean;
}

/** A text when kube-proxy answers; our own daemons answer the same, but say who they are. */
function ask({ where, path, timeoutMs, isIts }: Question): Promise<string | undefined> {
  const host = where.address.includes(':') ? `[${where.address}]` : where.address;
  const signal = AbortSignal.timeout(timeoutMs);
  return new Promise(resolve => {
    const none = () => resolve(undefined);
    const outgoing = request({ host: where.address, port: where.port, path, agent: false, signal }, incoming => {
      void text(incoming).then(body => {
        const isOurs = String(incoming.headers.server ?? '').startsWith(SERVER_NAME);
        resolve(isOurs || !isIts(body) ? undefined : `http://${host}:${where.port}${path} answers as kube-proxy does`);
      }, none);
    });
    outgoing.on('error', none).end();
  });
}

/** kube-proxy's, healthy or not. */
function isHealth(body: string): boolean {
  try {
    const health: unknown = JSON.parse(body);
    return typeof health === 'object' && health !== null && 'lastUpdated' in health && 'currentTime' in health;
  } catch {
    return false; // no JSON, so not kube-proxy
  }
}

async function findProcesses(proc: string): Promise<string[]> {
  const pids = (await readdir(proc)).filter(name => /^\d+$/.test(name));
  const ours = await networkOf(`${proc}/self`);
  const found = await Promise.all(pids.map(pid => describe(`${proc}/${pid}`, pid, ours)));
  return found.filter(text => text !== undefined);
}

/** A text when it is a kube-proxy in our network namespace. */
async function describe(directory: string, pid: string, ours: Network): Promise<string | undefined> {
  const comm = (await readOr(`${directory}/comm`)).trim();
  const argv = (await readOr(`${directory}/cmdline`)).split('\0').filter(Boolean);
  const [name, command] = argv.map(part => part.slice(part.lastIndexOf('/') + 1));
  const isHyperkube = name === 'hyperkube' && (command === 'proxy' || command === 'kube-proxy');
  if (comm !== 'kube-proxy' && name !== 'kube-proxy' && !isHyperkube) return undefined;
  const theirs = await networkOf(directory);
  if (theirs === 'gone' || (theirs !== undefined && theirs !== ours)) return undefined;
  return `process ${pid} (${argv.slice(0, 4).join(' ') || comm})`;
}

async function readOr(path: string): Promise<string> {
  // Gone meanwhile, or not to be read: then it isn't known.
  return readFile(path, 'utf8').catch(() => '');
}

/** `undefined` = not to be told; `gone` = it has none any more, as a process that is ending. */
type Network = number | 'gone' | undefined;

/**
 * Stands for a network namespace: the number of a file that each has its own of. Unlike the link /proc/PID/ns/net it takes no ptrace rights, which a
 * container lacks beside a privileged kube-proxy.
 */
async function networkOf(directory: string): Promise<Network> {
  try {
    return (await stat(`${directory}/net/dev`)).ino;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : '';
    return code === 'ENOENT' || code === 'EINVAL' || code === 'ESRCH' ? 'gone' : undefined;
  }
}
