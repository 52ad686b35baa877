/** A node for the plugin's tests: a namespace with the agent in it, pods' namespaces, and calls of the real executable as a runtime makes them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { AgentData } from '../../src/cni/agent/messages.ts';
import type { AgentSettings } from '../../src/cni/agent/parts.ts';
import type { Lease } from '../../src/cni/ipam/lease.ts';
import type { CniResult } from '../../src/cni/types.ts';
import { nodeProgram, projectDir } from '../../src/lab/install.ts';
import { configureLinks, createNamespaces, deleteNamespaces } from '../../src/lab/netns.ts';
import { type Output, run } from '../../src/linux/exec.ts';
import { savedRules } from './cni-saved-rules.ts';

export const kproxyCni = join(projectDir, 'dist/kproxy-cni');
const agentMain = fileURLToPath(new URL('cni-agent-main.ts', import.meta.url));

export interface Answer {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly milliseconds: number;
  /** Of a successful ADD; throws when it was none. */
  readonly result: CniResult;
  /** Code of the error; 0 = none. */
  readonly code: number;
  readonly message: string;
}

export interface Call {
  readonly verb: string;
  readonly id?: string;
  /** A pod of `pod()`, or a path, or '' for none. */
  readonly pod?: string;
  readonly ifname?: string;
  readonly args?: string;
  readonly path?: string;
  /** Merged into the configuration. */
  readonly config?: object;
  /** Instead of a configuration. */
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly program?: string;
  readonly signal?: AbortSignal;
  /** What the signal's abortion sends; SIGKILL unless said. */
  readonly killSignal?: NodeJS.Signals;
}

export const DUAL = { podCIDRs: ['10.88.0.0/24', 'fd00:88::/64'], nonMasqueradeCIDRs: [] } satisfies AgentSettings;
export const IPV4 = { podCIDRs: ['10.88.0.0/24'], nonMasqueradeCIDRs: [] } satisfies AgentSettings;

/** Of the namespace itself, and what leads to `outside`. */
const KEPT = ['lo', 'out0'];

export class CniNode implements AsyncDisposable {
  readonly netns: string;
  readonly directory: string;
  readonly #prefix: string;
  readonly #pods = new Set<string>();
  #agent: ChildProcess | undefined;
  #lines: AsyncIterator<string> | undefined;
  #ended: Promise<unknown> = Promise.resolve();
  #settings: AgentSettings;

  private constructor(prefix: string, directory: string, settings: AgentSettings, more: Partial<AgentData>) {
    this.more = more;
    this.#prefix = prefix;
    this.netns = `${prefix}-host`;
    this.directory = directory;
    this.#settings = settings;
  }

  static async start(name: string, settings: AgentSettings = IPV4, more: Partial<AgentData> = {}): Promise<CniNode> {
    const directory = await mkdtemp(join(tmpdir(), 'kproxy-cni-'));
    const node = new CniNode(`kpx-${name}-${process.pid}`, directory, settings, more);
    await createNamespaces([node.netns]);
    await node.startAgent();
    return node;
  }

  /** A shell's lines before each agent, in its mount namespace. */
  prepare = '';
  /** What the next agents are told beside. */
  more: Partial<AgentData>;

  get agentPid(): number {
    return this.#agent?.pid ?? 0;
  }

  async startAgent(settings: AgentSettings = this.#settings): Promise<void> {
    this.#settings = settings;
    const argument = JSON.stringify({ directory: this.directory, settings, more: this.more });
    const shell = ['sh', '-ec', `${this.prepare}\nexec "$@"`, 'sh'];
    const command = ['netns', 'exec', this.netns, ...shell, nodeProgram, agentMain, argument];
    const agent = spawn('ip', command, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, UV_THREADPOOL_SIZE: '8' }, // as bin/kproxy-ts has it
    });
    this.#agent = agent;
    this.#ended = once(agent, 'exit');
    let said = '';
    agent.stderr.on('data', chunk => {
      said += String(chunk);
    });
    this.#lines = createInterface({ input: agent.stdout })[Symbol.asyncIterator]();
    for (;;) {
      const line = await this.#line(() => `the agent ended: ${said}`);
      if (line === '"started"') return;
    }
  }

  /** The next line that is no log line. */
  async #line(why: () => string): Promise<string> {
    const ended = this.#ended.then(() => {
      throw new Error(why());
    });
    ended.catch(() => undefined); // raced
    for (;;) {
      const { value, done } = await Promise.race([this.#lines!.next(), ended]);
      if (done === true) throw new Error(why());
      if (!value.startsWith('{"level"')) return value;
      this.log.push(value);
    }
  }

  /** Log lines of the agent, as far as they were read. */
  readonly log: string[] = [];

  async ask<T>(call: 'list' | 'readings'): Promise<T> {
    this.#agent!.stdin!.write(`${JSON.stringify({ call })}\n`);
    return (JSON.parse(await this.#line(() => 'the agent ended')) as { value: T }).value;
  }

  tell(settings: AgentSettings): void {
    this.#settings = settings;
    this.#agent!.stdin!.write(`${JSON.stringify({ settings })}\n`);
  }

  leases(): Promise<readonly Lease[]> {
    return this.ask<readonly Lease[]>('list');
  }

  async stopAgent(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const agent = this.#agent;
    if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
    agent.kill(signal);
    await this.#ended;
  }

  signalAgent(signal: NodeJS.Signals): void {
    this.#agent!.kill(signal);
  }

  /** The path of a new pod's namespace. */
  async pod(name: string): Promise<string> {
    const netns = `${this.#prefix}-${name}`;
    await createNamespaces([netns]);
    this.#pods.add(netns);
    return `/run/netns/${netns}`;
  }

  nameOf(path: string): string {
    return path.replace('/run/netns/', '');
  }

  async removePod(path: string): Promise<void> {
    await deleteNamespaces([this.nameOf(path)]);
    this.#pods.delete(this.nameOf(path));
  }

  configuration(more: object = {}): Record<string, unknown> {
    return {
      cniVersion: '1.1.0',
      name: 'kp',
      type: 'kproxy-cni',
      bridge: 'cni0',
      isDefaultGateway: true,
      ipMasq: true,
      ipam: { type: 'kproxy-cni' },
      kproxyRuntimeDir: this.directory,
      ...more,
    };
  }

  /** Calls the executable; never rejects for what it answers. */
  async call({
    verb,
    id = 'c1',
    pod = '',
    ifname = 'eth0',
    args,
    path,
    config,
    stdin,
    ...more
  }: Call): Promise<Answer> {
    const isOfPod = !['GC', 'STATUS', 'VERSION'].includes(verb);
    const wanted: Record<string, string | undefined> = {
      PATH: process.env.PATH,
      CNI_COMMAND: verb,
      CNI_PATH: path ?? join(projectDir, 'dist'),
      ...(isOfPod ? { CNI_CONTAINERID: id, CNI_NETNS: pod, CNI_IFNAME: ifname } : {}),
      ...(args === undefined ? {} : { CNI_ARGS: args }),
      ...more.env,
    };
    const env = Object.fromEntries(
      Object.entries(wanted).filter(([, value]) => value !== undefined),
    ) as NodeJS.ProcessEnv;
    const began = performance.now();
    const child = spawn('ip', ['netns', 'exec', this.netns, more.program ?? kproxyCni], {
      env,
      ...(more.signal && { signal: more.signal, killSignal: more.killSignal ?? 'SIGKILL' }),
    });
    const [out, err]: Buffer[][] = [[], []];
    child.stdout.on('data', chunk => out!.push(chunk));
    child.stderr.on('data', chunk => err!.push(chunk));
    child.on('error', () => undefined); // the signal's
    child.stdin.on('error', () => undefined); // it may end before it has read all
    child.stdin.end(stdin ?? JSON.stringify(this.configuration(config)));
    const status = await new Promise<number | null>(resolve => child.once('close', resolve));
    return answerOf(
      status ?? -1,
      Buffer.concat(out!).toString(),
      Buffer.concat(err!).toString(),
      performance.now() - began,
    );
  }

  add(pod: string, more: Omit<Call, 'verb' | 'pod'> = {}): Promise<Answer> {
    return this.call({ verb: 'ADD', pod, ...more });
  }

  del(pod: string, more: Omit<Call, 'verb' | 'pod'> = {}): Promise<Answer> {
    return this.call({ verb: 'DEL', pod, ...more });
  }

  /** Runs a program in the node's namespace, or in a pod's. */
  exec(command: readonly [string, ...string[]], netns = this.netns): Promise<Output> {
    const [program, ...args] = command;
    return run(program, args, { netns });
  }

  /** What of attachments there is: links but for bridges and lo, elements of our sets, leases, queued DELs, addresses of bridges. */
  async residue(): Promise<readonly string[]> {
    const links = JSON.parse((await this.exec(['ip', '-j', '-d', 'link'])).stdout) as {
      ifname: string;
      linkinfo?: { info_kind?: string };
    }[];
    const others = links
      .filter(({ ifname, linkinfo }) => !KEPT.includes(ifname) && linkinfo?.info_kind !== 'bridge')
      .map(({ ifname }) => `link ${ifname}`);
    const rules = await this.#rulesOfPods();
    const leases = (await this.leases())
      .filter(({ state }) => state !== 'resting')
      .map(({ address }) => `lease ${address}`);
    const deferred = await readdir(join(this.directory, 'cni-deferred')).catch(() => []);
    return [...others, ...rules.map(line => line.trim()), ...leases, ...deferred];
  }

  /** In iptables all that is ours goes with the last pod. */
  async #rulesOfPods(): Promise<readonly string[]> {
    const nft = (await this.exec(['nft', 'list', 'ruleset'])).stdout.split('\n');
    const elements = nft.filter(line => line.includes('comment "kp/'));
    if (this.more.rules !== 'iptables') return elements;
    return [...elements, ...(await savedRules(this)).filter(line => line.includes('KPROXY-CNI-'))];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent?.kill('SIGCONT');
    await this.stopAgent();
    await deleteNamespaces([...this.#pods, this.netns]);
    await rm(this.directory, { recursive: true, force: true });
  }
}

function answerOf(status: number, stdout: string, stderr: string, milliseconds: number): Answer {
  const parsed = stdout === '' ? {} : (JSON.parse(stdout) as { code?: number; msg?: string } & CniResult);
  const { code = 0, msg: message = '' } = parsed;
  return {
    ...{ status, stdout, stderr, milliseconds, code, message },
    get result(): CniResult {
      if (status !== 0 || stdout === '') throw new Error(`no result: ${stdout} ${stderr}`);
      return parsed;
    },
  };
}

/** An interface of a namespace with its addresses, as `ip` tells it. */
export async function linkIn(node: CniNode, netns: string, name: string): Promise<LinkState | undefined> {
  const { stdout } = await node.exec(['ip', '-j', '-d', 'addr', 'show'], netns);
  return (JSON.parse(stdout) as LinkState[]).find(({ ifname }) => ifname === name);
}

export interface LinkState {
  readonly ifname: string;
  readonly address: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly master?: string;
  readonly addr_info: readonly { readonly local: string; readonly prefixlen: number; readonly tentative?: boolean }[];
}

/** Makes a namespace beside the node, on a link of its own: the outside, which knows no pods. */
export async function outside(node: CniNode): Promise<string> {
  const path = await node.pod('outside');
  const name = node.nameOf(path);
  await configureLinks(node.netns, [
    `link add out0 type veth peer name eth0 netns ${name}`,
    'addr add 192.0.2.1/24 dev out0',
    'addr add 2001:db8::1/64 dev out0 nodad',
    'link set out0 up',
  ]);
  await configureLinks(name, [
    'addr add 192.0.2.9/24 dev eth0',
    'addr add 2001:db8::9/64 dev eth0 nodad',
    'link set eth0 up',
  ]);
  return name;
}
