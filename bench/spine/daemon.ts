/** The daemon as users start it, against the embedded API server with so many Services of ten endpoints. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { run } from '../../src/linux/exec.ts';

export interface BenchDaemonOptions {
  readonly services: number | string;
  /** Of the iptables mode; `nftables` = that mode. */
  readonly variant?: string;
  /** Go's notation; default 30s. */
  readonly syncPeriod?: string;
  /** Answers names at 127.0.0.1:DNS_PORT with so many workers; absent = none. */
  readonly dnsWorkers?: number;
  /** With the agent of pods' network. */
  readonly cni?: boolean;
}

export interface BenchDaemon extends AsyncDisposable {
  readonly pid: number;
  /** The API server's. */
  readonly url: string;
  /** From the process's start to all rules programmed. */
  readonly startMs: number;
  /** Everything has to be listed again. */
  relist(): void;
}

export const DNS_PORT = 5300;

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Resolves once every rule is programmed. */
export async function startDaemon(options: BenchDaemonOptions): Promise<BenchDaemon> {
  // Not in /tmp: the daemon follows its configuration file by the directories on the way, and others write there.
  const directory = await mkdtemp('/run/kproxy-bench-daemon-');
  await run('ip', ['link', 'set', 'lo', 'up']);
  const api = spawn(process.execPath, [here('./api-server.ts'), String(options.services)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const url = await firstLine(api);
  await writeFile(join(directory, 'kubeconfig'), kubeconfig(url));
  await writeFile(join(directory, 'config.yaml'), configuration(options, directory));
  const startedAt = performance.now();
  const args = ['run', '--config', join(directory, 'config.yaml'), '--runtime-dir', directory];
  const daemon = spawn(here('../../bin/kproxy-ts'), args, { stdio: ['ignore', 'pipe', 'inherit'] });
  // Both families have their line; the second one ends the wait.
  let programmed = 0;
  for await (const line of createInterface(daemon.stdout)) {
    if (/all rules are programmed|already had every rule/.test(line)) programmed += 1;
    if (programmed === 2) break;
  }
  const startMs = performance.now() - startedAt;
  daemon.stdout.resume();
  return {
    pid: daemon.pid ?? 0,
    url,
    startMs,
    relist: () => void api.kill('SIGUSR2'),
    [Symbol.asyncDispose]: async () => {
      daemon.kill();
      api.kill();
      await rm(directory, { recursive: true });
    },
  };
}

async function firstLine({ stdout }: ChildProcess): Promise<string> {
  if (stdout === null) return '';
  const { value } = await createInterface(stdout)[Symbol.asyncIterator]().next();
  return String(value);
}

function kubeconfig(url: string): string {
  return JSON.stringify({
    clusters: [{ name: 'c', cluster: { server: url } }],
    users: [{ name: 'u', user: {} }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  });
}

function configuration(options: BenchDaemonOptions, directory: string): string {
  const { variant = 'nft', syncPeriod = '30s', dnsWorkers, cni = false } = options;
  const isNftables = variant === 'nftables';
  const kubeProxy = {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    mode: isNftables ? 'nftables' : 'iptables',
    hostnameOverride: 'node-0',
    clusterCIDR: '10.244.0.0/16',
    [isNftables ? 'nftables' : 'iptables']: { syncPeriod },
    clientConnection: { kubeconfig: join(directory, 'kubeconfig') },
  };
  const ours = {
    apiVersion: 'kproxy-ts.dev/v1alpha1',
    kind: 'NodeConfiguration',
    ...(isNftables ? {} : { iptables: { variant } }),
    ...(dnsWorkers === undefined ? {} : { dns: dnsSection(dnsWorkers) }),
    ...(cni ? { cni: { enabled: true, stateDirectory: join(directory, 'state') } } : {}),
  };
  return `${JSON.stringify(kubeProxy)}\n---\n${JSON.stringify(ours)}\n`;
}

function dnsSection(workers: number): object {
  return { enabled: true, listen: [`127.0.0.1:${DNS_PORT}`], service: '', upstreams: [], workers };
}
