/**
 * Run in a network namespace of its own: ADD and DEL of kproxy-cni and of the stock plugins by turns, one at a time and many at once. Prints milliseconds as
 * JSON: of each figure the median of ours and of theirs. Arguments: runs, how many at once.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentThread } from '../../src/cni/host/thread.ts';
import { AGENT_SOCKET, DEFERRED_DIRECTORY } from '../../src/cni/types.ts';
import { projectDir } from '../../src/lab/install.ts';
import { run } from '../../src/linux/exec.ts';
import { createLogger } from '../../src/log.ts';
import { median } from '../spine/rows.ts';

const STOCK = '/usr/lib/cni';
const runs = Number(process.argv[2] ?? 15);
const many = Number(process.argv[3] ?? 100);
const directory = mkdtempSync(join(tmpdir(), 'kproxy-bench-cni-'));
const podName = (index: number) => `kpxb${process.pid}-${index}`;
const PORTS = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] };

interface Step {
  readonly program: string;
  readonly config: Record<string, unknown>;
}

/** What a runtime calls for one pod: in this order for ADD, the other way round for DEL. */
type Chain = readonly Step[];

const common = { cniVersion: '1.0.0', isDefaultGateway: true };
const ours = (name: string, more: object): Chain => {
  const config = { ...common, name, type: 'kproxy-cni', bridge: 'ours0', kproxyRuntimeDir: directory, ...more };
  const ipam = { type: 'host-local', ranges: [[{ subnet: '10.10.0.0/16' }]] };
  return [{ program: join(projectDir, 'dist/kproxy-cni'), config: { ipam, ...config } }];
};
const theirs = (name: string, more: object, hasPorts = false): Chain => {
  const ipam = { type: 'host-local', dataDir: join(directory, 'stock'), ranges: [[{ subnet: '10.20.0.0/16' }]] };
  const bridge = { ...common, name, type: 'bridge', bridge: 'theirs0', ipam, ...more };
  const portmap = {
    cniVersion: '1.0.0',
    name,
    type: 'portmap',
    capabilities: { portMappings: true },
    runtimeConfig: PORTS,
  };
  const chain = [{ program: join(STOCK, 'bridge'), config: bridge }];
  return hasPorts ? [...chain, { program: join(STOCK, 'portmap'), config: portmap }] : chain;
};

async function call(verb: string, step: Step, index: number, prevResult?: unknown): Promise<unknown> {
  const name = podName(index);
  const env = {
    PATH: process.env.PATH,
    CNI_COMMAND: verb,
    CNI_CONTAINERID: name,
    CNI_NETNS: `/run/netns/${name}`,
    CNI_IFNAME: 'eth0',
    CNI_PATH: STOCK,
  };
  const child = spawn(step.program, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', chunk => {
    text += String(chunk);
  });
  child.stdin.end(JSON.stringify(prevResult === undefined ? step.config : { ...step.config, prevResult }));
  const [status] = (await once(child, 'close')) as [number];
  if (status !== 0) throw new Error(`${verb} by ${step.program}: ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}

async function add(chain: Chain, index: number): Promise<unknown> {
  let result: unknown;
  for (const step of chain) result = await call('ADD', step, index, result);
  return result;
}

async function del(chain: Chain, index: number, result: unknown): Promise<void> {
  for (const step of chain.toReversed()) await call('DEL', step, index, result);
}

async function timed<T>(into: number[], work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const value = await work();
  into.push(performance.now() - began);
  return value;
}

interface Pair {
  readonly ours: number;
  readonly theirs: number;
}

async function compare(our: Chain, their: Chain): Promise<{ readonly add: Pair; readonly del: Pair }> {
  const times = [our, their].map(chain => ({ chain, adds: [] as number[], dels: [] as number[] }));
  for (let round = 0; round <= runs; round += 1) {
    for (const { chain, adds, dels } of times) {
      const warmUp = round === 0;
      const result = await timed(warmUp ? [] : adds, () => add(chain, 0));
      await timed(warmUp ? [] : dels, () => del(chain, 0, result));
    }
  }
  const [mine, other] = times.map(({ adds, dels }) => [median(adds), median(dels)] as const);
  return { add: { ours: mine![0], theirs: other![0] }, del: { ours: mine![1], theirs: other![1] } };
}

async function together(chain: Chain): Promise<{ readonly add: number; readonly del: number }> {
  const indexes = Array.from({ length: many }, (_, index) => index);
  const began = performance.now();
  const results = await Promise.all(indexes.map(index => add(chain, index)));
  const added = performance.now();
  await Promise.all(indexes.map(index => del(chain, index, results[index])));
  return { add: added - began, del: performance.now() - added };
}

async function versions(): Promise<Pair> {
  const times: Record<'ours' | 'theirs', number[]> = { ours: [], theirs: [] };
  const programs = { ours: join(projectDir, 'dist/kproxy-cni'), theirs: join(STOCK, 'bridge') };
  const config = { cniVersion: '1.0.0' };
  for (let round = 0; round < runs * 4; round += 1) {
    for (const who of ['ours', 'theirs'] as const)
      await timed(times[who], () => call('VERSION', { program: programs[who], config }, 0));
  }
  return { ours: median(times.ours), theirs: median(times.theirs) };
}

const agent = new AgentThread({
  socketPath: join(directory, AGENT_SOCKET),
  deferredDirectory: join(directory, DEFERRED_DIRECTORY),
  stateDirectory: join(directory, 'state'),
  settings: { podCIDRs: [], nonMasqueradeCIDRs: [] },
  log: createLogger({ level: 'silent' as 'error' }),
  onDeath: error => {
    throw error;
  },
});
try {
  await agent.started;
  await run('ip', ['link', 'set', 'lo', 'up']);
  await run('ip', ['-batch', '-'], {
    input: Array.from({ length: many }, (_, index) => `netns add ${podName(index)}\n`).join(''),
  });
  const masq = { ipMasq: true };
  const figures = {
    masq: await compare(ours('m', masq), theirs('m', masq)),
    plain: await compare(ours('p', {}), theirs('p', {})),
    ports: await compare(ours('h', { ...masq, runtimeConfig: PORTS }), theirs('h', masq, true)),
    version: await versions(),
    oursTogether: await together(ours('t', masq)),
    theirsTogether: await together(theirs('t', masq)),
  };
  process.stdout.write(JSON.stringify(figures));
} finally {
  await agent[Symbol.asyncDispose]();
  await run('ip', ['-force', '-batch', '-'], {
    input: Array.from({ length: many }, (_, index) => `netns del ${podName(index)}\n`).join(''),
  });
  rmSync(directory, { recursive: true, force: true });
}
