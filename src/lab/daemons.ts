/** The product's daemon on each node of a lab. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ExecError, run } from '../linux/exec.ts';
import { labProgram } from './install.ts';
import { healthzPort, namespaceOf, nodeLayout } from './layout.ts';
import { proxyConfiguration } from './manifests.ts';
import {
  awaitEnd,
  isAlive,
  type Launched,
  labVariable,
  launch,
  markedEnv,
  type ProcessId,
  signalProcess,
} from './process.ts';
import { labDir, type StateFile } from './state.ts';

const readyTimeoutMs = 30_000;

/** Where a node's daemon keeps what it needs at run time (`--runtime-dir`). */
export function runtimeDir(lab: string, node: string): string {
  return join(labDir(lab), `${node}.run`);
}

/**
 * Variables for programs on a node: iptables-legacy locks per node, as each node has tables of its own, and `kproxy-ts dump` finds
 * the node's daemon.
 */
export function nodeEnv(lab: string, node: string): Record<string, string> {
  return {
    XTABLES_LOCKFILE: join(labDir(lab), `${node}.xtables.lock`),
    KPROXY_TS_RUNTIME_DIR: runtimeDir(lab, node),
  };
}

export interface StartOptions {
  /** More arguments for `run`. */
  readonly args?: readonly string[];
  /** More variables, or others: a PATH with wrappers before the real programs. */
  readonly env?: Readonly<Record<string, string>>;
  /** Edits the text of the configuration. */
  readonly configuration?: (text: string) => string;
  /** Another name than the node's, for a second daemon there: its log, its configuration and `stopDaemon` go by it. */
  readonly as?: string;
  /** false: don't wait until /readyz answers 200. Default true. */
  readonly awaitReady?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface StartedDaemon {
  readonly pid: number;
  /** Settles when its process ends, with a sentence on how. */
  readonly ended: Promise<string>;
}

/** The configuration file of a daemon. */
export function configurationFile(lab: string, name: string): string {
  return join(labDir(lab), `${name}.yaml`);
}

/** Starts a daemon of a node and returns when its /readyz says so. @throws with the end of its log when it doesn't get there */
export async function startDaemon(state: StateFile, node: string, options: StartOptions = {}): Promise<StartedDaemon> {
  const { as: name = node, signal, awaitReady = true } = options;
  const lab = state.current.name;
  const netns = namespaceOf(lab, node);
  const logFile = join(labDir(lab), `${name}.log`);
  const { id, ended } = await launchDaemon(state, node, options);
  recordDaemon(state, name, id);
  const signals = signal === undefined ? [] : [signal];
  const failure = !awaitReady
    ? ''
    : await firstOf(ended, other => waitUntilReady(lab, netns, AbortSignal.any([other, ...signals])));
  if (failure !== '') throw new Error(`daemon of ${name} ${failure}${lastLines(logFile)}`);
  return { pid: id.pid, ended };
}

async function launchDaemon(state: StateFile, node: string, options: StartOptions): Promise<Launched> {
  const { as: name = node, args = [], env = {}, configuration = text => text } = options;
  const { name: lab, mode, hasIPv6, hasDns, hasCni, daemonProgram } = state.current;
  const cniDirectory = hasCni ? join(labDir(lab), `${node}.state`) : '';
  const configFile = configurationFile(lab, name);
  const kubeconfigFile = join(labDir(lab), 'kubeconfig');
  await mkdir(runtimeDir(lab, node), { recursive: true });
  await writeFile(
    configFile,
    configuration(proxyConfiguration({ node: nodeLayout(node), mode, kubeconfigFile, hasIPv6, hasDns, cniDirectory })),
  );
  return launch({
    netns: namespaceOf(lab, node),
    command: [daemonProgram, 'run', '--config', configFile, '--runtime-dir', runtimeDir(lab, node), ...args],
    env: markedEnv(lab, { ...nodeEnv(lab, node), ...env }),
    logFile: join(labDir(lab), `${name}.log`),
  });
}

/** The daemon's end, or the outcome of the wait, whichever comes first; the wait is then given up. */
async function firstOf(ended: Promise<string>, wait: (signal: AbortSignal) => Promise<string>): Promise<string> {
  const giveUp = new AbortController();
  const waiting = wait(giveUp.signal);
  try {
    return await Promise.race([ended, waiting]);
  } finally {
    giveUp.abort();
    await waiting;
  }
}

/** Resolves to '' once /readyz answers 200, else to what it said last. */
async function waitUntilReady(lab: string, netns: string, signal: AbortSignal): Promise<string> {
  try {
    await askReady(lab, netns, readyTimeoutMs, signal);
    return '';
  } catch (error) {
    if (error instanceof ExecError) return `didn't get ready: ${error.stderr.trim()}`;
    throw error;
  }
}

async function askReady(lab: string, netns: string, timeoutMs: number, signal?: AbortSignal): Promise<void> {
  const [program, ...args] = labProgram('pod');
  const url = `http://127.0.0.1:${healthzPort}/readyz`;
  const env = { [labVariable]: lab };
  await run(program, [...args, 'wait', url, String(timeoutMs)], {
    netns,
    env,
    ...(signal === undefined ? {} : { signal }),
  });
}

function recordDaemon(state: StateFile, node: string, id: ProcessId | null): void {
  state.update({ daemons: { ...state.current.daemons, [node]: id } });
}

/** Sends a signal to the daemon of a node and returns when it has gone. */
export async function stopDaemon(state: StateFile, node: string, how: NodeJS.Signals): Promise<void> {
  const id = state.current.daemons[node];
  if (id === undefined || id === null) return;
  await signalProcess(id, how);
  const left = await awaitEnd([id], 10_000);
  if (left.length > 0) throw new Error(`daemon of ${node} (process ${id.pid}) doesn't end on ${how}`);
  recordDaemon(state, node, null);
}

/** What a daemon is now: its process lives, and says that it's ready. */
export async function readDaemon(lab: string, node: string, id: ProcessId | null): Promise<'ready' | 'alive' | 'dead'> {
  if (id === null || !(await isAlive(id))) return 'dead';
  try {
    await askReady(lab, namespaceOf(lab, node), 1);
    return 'ready';
  } catch (error) {
    if (error instanceof ExecError) return 'alive';
    throw error;
  }
}

function lastLines(logFile: string): string {
  if (!existsSync(logFile)) return '';
  const lines = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-12);
  return `\nthe end of ${logFile}:\n${lines.map(line => `  ${line}`).join('\n')}`;
}
