/** What a container runtime does: pods' namespaces, and the programs called with a configuration, one after the other. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { projectDir } from '../../src/lab/install.ts';
import { run } from '../../src/linux/exec.ts';

/** Where Debian's containernetworking-plugins are. */
export const STOCK = '/usr/lib/cni';
export const kproxyCni = join(projectDir, 'dist/kproxy-cni');

export interface Step {
  readonly program: string;
  readonly config: Record<string, unknown>;
}

/** What a runtime calls for one pod: in this order for ADD, the other way round for DEL. */
export type Chain = readonly Step[];

export const podName = (index: number) => `kpxb${process.pid}-${index}`;

/** `count` namespaces, until it is disposed of. */
export async function makePods(count: number): Promise<AsyncDisposable> {
  const batch = (line: (name: string) => string) =>
    run('ip', ['-force', '-batch', '-'], {
      input: Array.from({ length: count }, (_, index) => `${line(podName(index))}\n`).join(''),
    });
  await run('ip', ['link', 'set', 'lo', 'up']);
  await batch(name => `netns add ${name}`);
  return {
    [Symbol.asyncDispose]: async () => {
      await batch(name => `netns del ${name}`);
    },
  };
}

/** Rejects with what the program says when it fails. */
export async function call(verb: string, step: Step, index: number, prevResult?: unknown): Promise<unknown> {
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

export async function add(chain: Chain, index: number): Promise<unknown> {
  let result: unknown;
  for (const step of chain) result = await call('ADD', step, index, result);
  return result;
}

export async function del(chain: Chain, index: number, result: unknown): Promise<void> {
  for (const step of chain.toReversed()) await call('DEL', step, index, result);
}

/** Milliseconds until all are there, and until all are gone again. */
export async function together(chain: Chain, count: number): Promise<{ readonly add: number; readonly del: number }> {
  const indexes = Array.from({ length: count }, (_, index) => index);
  const began = performance.now();
  const results = await Promise.all(indexes.map(index => add(chain, index)));
  const added = performance.now();
  await Promise.all(indexes.map(index => del(chain, index, results[index])));
  return { add: added - began, del: performance.now() - added };
}

export async function timed<T>(into: number[], work: () => Promise<T>): Promise<T> {
  const began = performance.now();
  const value = await work();
  into.push(performance.now() - began);
  return value;
}
