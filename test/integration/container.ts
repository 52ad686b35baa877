/**
 * The pod of deploy/kproxy-ts.yaml on a node of a lab, without a container runtime: command line, capabilities and volumes are those of
 * the manifest, and container.sh makes the inside of its namespaces.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { projectDir } from '../../src/lab/install.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { healthzPort } from '../../src/lab/layout.ts';
import {
  awaitEnd,
  endProcesses,
  labVariable,
  launch,
  markedEnv,
  type ProcessId,
  signalProcess,
  startTimeOf,
} from '../../src/lab/process.ts';
import { ExecError, type Output, run } from '../../src/linux/exec.ts';
import { daemonPod, keptCapabilities } from '../unit/deploy/manifest.ts';
import { eventually, type LogLine } from './daemon-lab.ts';
import { gateEnv, nodeFilesOf } from './node-files.ts';

const SCRIPT = fileURLToPath(new URL('container.sh', import.meta.url));
const IMAGE_PATH = '/opt/kproxy-ts/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface ContainerOptions {
  readonly lab: Lab;
  readonly node: string;
  /** In the manifest's spelling; default: those of the manifest. */
  readonly capabilities?: readonly string[];
  /** Takes the place of variables that the pod would have. */
  readonly env?: Readonly<Record<string, string>>;
  /** What runs in it; default: what the manifest says. */
  readonly command?: readonly [string, ...string[]];
}

/** A container that runs, or ran. */
export class Container implements AsyncDisposable {
  /** Settles when it ends, with a sentence on how. */
  readonly ended: Promise<string>;
  readonly #options: ContainerOptions;
  readonly #unshare: ProcessId;
  readonly #logFile: string;

  private constructor(options: ContainerOptions, started: { ended: Promise<string>; id: ProcessId; logFile: string }) {
    this.#options = options;
    this.ended = started.ended;
    this.#unshare = started.id;
    this.#logFile = started.logFile;
  }

  static async start(options: ContainerOptions): Promise<Container> {
    const { lab, node, capabilities = keptCapabilities(), command = manifestCommand(node) } = options;
    const root = await mkdtemp(join(lab.directory, `${node}.root-`));
    const logFile = `${root}.log`;
    const env = { PATH: IMAGE_PATH, ...gateEnv, ...options.env, [labVariable]: lab.name };
    const { id, ended } = await launch({
      netns: lab.netns(node),
      // prettier-ignore
      command: [
        'unshare',
        '--mount',
        '--pid',
        '--fork',
        '--kill-child',
        'sh',
        SCRIPT,
        root,
        projectDir,
        nodeFilesOf(lab, node),
        boundingSet(capabilities),
        ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
        '--',
        ...command,
      ],
      env: markedEnv(lab.name),
      logFile,
    });
    return new Container(options, { ended, id, logFile });
  }

  /** Standard output and error so far. */
  get log(): string {
    return readFileSync(this.#logFile, 'utf8');
  }

  /** The log lines so far, when it runs the daemon. */
  get lines(): readonly LogLine[] {
    return this.log
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line) as LogLine);
  }

  /** Resolves when /readyz on the node answers 200. @throws what the container said */
  async awaitReady(): Promise<void> {
    const { lab, node } = this.#options;
    await eventually(() => lab.exec(node, ['curl', '-sf', `http://127.0.0.1:${healthzPort}/readyz`])).catch(cause => {
      throw new Error(`not ready; it said:\n${this.log}`, { cause });
    });
  }

  /** Runs a program inside, as a probe of the kubelet does. @throws {ExecError} */
  async exec(command: readonly [string, ...string[]]): Promise<Output> {
    const { pid } = await this.#first();
    const { capabilities = keptCapabilities() } = this.#options;
    const confined = ['setpriv', `--bounding-set=${boundingSet(capabilities)}`, '--inh-caps=-all', '--no-new-privs'];
    return run('nsenter', [
      '--target',
      String(pid),
      '--mount',
      '--pid',
      '--net',
      '--root',
      '--wd',
      '--',
      ...confined,
      ...command,
    ]);
  }

  /** Whether the startup probe succeeds now. */
  async hasStarted(): Promise<boolean> {
    const [program = '', ...args] = daemonPod().container.startupProbe?.exec?.command ?? [];
    try {
      await this.exec([program, ...args]);
      return true;
    } catch (error) {
      // grep's words for "not found", and for the same where a descriptor was closed meanwhile; the kubelet takes them alike.
      if (error instanceof ExecError && [1, 2].includes(error.exitCode)) return false;
      throw error;
    }
  }

  /** The status file of the container's first process (proc(5)). */
  async status(): Promise<string> {
    return readFile(`/proc/${(await this.#first()).pid}/status`, 'utf8');
  }

  /** Ends it if it still runs. */
  async [Symbol.asyncDispose](): Promise<void> {
    await endProcesses([this.#unshare], 0); // and with it, by --kill-child, all that is inside
  }

  /** Ends it; resolves to how it ended. One that has just begun takes no SIGTERM: it is process 1, and has no handler yet. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<string> {
    await signalProcess(await this.#first(), signal);
    const left = await awaitEnd([this.#unshare], 10_000);
    if (left.length > 0) throw new Error(`the container doesn't end on ${signal}; it said:\n${this.log}`);
    return this.ended;
  }

  /** Process 1 of the container, under its number out here. */
  async #first(): Promise<ProcessId> {
    const { pid } = this.#unshare;
    const child = Number((await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim());
    return { pid: child, startTime: (await startTimeOf(child)) ?? '' };
  }
}

/** The manifest's command line for a node. */
function manifestCommand(node: string): [string, ...string[]] {
  const { command: [program = '', ...more] = [], args = [] } = daemonPod().container;
  return [program, ...[...more, ...args].map(arg => arg.replace('$(NODE_NAME)', node))];
}

/** For setpriv: exactly these. */
function boundingSet(capabilities: readonly string[]): string {
  return ['-all', ...capabilities.map(name => `+${name.toLowerCase()}`)].join(',');
}
