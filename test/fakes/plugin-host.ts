/** A machine for the plugin: files, namespaces, programs and an agent in memory. */
import type { ExchangeFailure, Executed, Failed, Host, LoopbackState } from '../../src/cni/plugin/host.ts';
import { AGENT_PROTOCOL, type AgentReply, type AgentRequest } from '../../src/cni/types.ts';

type Overrides = Readonly<Record<string, string>>;
type Agent = (request: AgentRequest) => AgentReply | string | ExchangeFailure;

type ExecuteFailed = Failed<'io' | 'timeout' | 'ended'>;

export interface Execution {
  readonly path: string;
  readonly command: string;
  readonly stdin: string;
  readonly timeoutMs: number;
}

const FAILURES: ReadonlySet<unknown> = new Set<ExchangeFailure>(['absent', 'denied', 'timeout', 'closed', 'ended']);
const isFailure = (reply: unknown): reply is ExchangeFailure => FAILURES.has(reply);

/** `device:inode` of the namespace that the plugin is in. */
const OWN_NETNS = '4:1';

export class FakePluginHost implements Host {
  environment: Readonly<Record<string, string>> = {};
  program = '/opt/cni/bin/kproxy-cni';
  pid = 4711;
  uid = 0;
  canAdminister = true;
  stdin: string | Failed<'timeout' | 'too-large' | 'io' | 'ended'> = '';
  /** A signal has come. */
  isSignalled = false;
  isShielded = false;
  /** Answers in place of the agent; a failure's name is one. */
  agent: Agent = () => ({});
  /** Identities by path; null = a file that is no namespace. */
  readonly namespaces = new Map<string, string | null>([
    ['/proc/self/ns/net', OWN_NETNS],
    ['/run/netns/p1', '4:2'],
  ]);
  readonly programs = new Map<string, (execution: Execution) => Executed | ExecuteFailed>();
  lo: LoopbackState = { isUp: false, hasIPv6: true };
  isStdoutOpen = true;
  /** Thrown by what writes to the disk, or to the kernel. */
  fault: Error | undefined;

  stdout = '';
  stderr = '';
  readonly stdinLimits: { readonly maxBytes: number; readonly timeoutMs: number }[] = [];
  readonly exchanges: { readonly socket: string; readonly request: AgentRequest; readonly timeoutMs: number }[] = [];
  readonly executions: Execution[] = [];
  readonly files = new Map<string, string>();
  /** What happened outside, in order: `agent ADD`, `static DEL`. */
  readonly happened: string[] = [];

  readStdin(limits: { readonly maxBytes: number; readonly timeoutMs: number }) {
    this.stdinLimits.push(limits);
    return this.stdin;
  }

  writeStdout(text: string): boolean {
    if (this.isStdoutOpen) this.stdout += text;
    return this.isStdoutOpen;
  }

  writeStderr(text: string): void {
    this.stderr += text;
  }

  exchange(socket: string, line: string, timeoutMs: number): string | Failed<ExchangeFailure> {
    const request = JSON.parse(line) as AgentRequest;
    this.exchanges.push({ socket, request, timeoutMs });
    this.happened.push(`agent ${request.command}`);
    const reply = this.agent(request);
    if (isFailure(reply)) return { failure: reply, message: `as told: ${reply}` };
    return typeof reply === 'string' ? reply : JSON.stringify({ protocol: AGENT_PROTOCOL, ...reply });
  }

  netnsIdentity(path: string): string | Failed<'missing' | 'not-a-namespace'> {
    const identity = this.namespaces.get(path);
    if (identity === undefined) return { failure: 'missing', message: `no such file: ${path}` };
    return identity ?? { failure: 'not-a-namespace', message: `not a namespace: ${path}` };
  }

  isExecutable(path: string): boolean {
    return this.programs.has(path);
  }

  execute(path: string, stdin: string, timeoutMs: number, overrides: Overrides = {}): Executed | ExecuteFailed {
    const command = { ...this.environment, ...overrides }.CNI_COMMAND ?? '';
    const execution = { path, command, stdin, timeoutMs };
    this.executions.push(execution);
    this.happened.push(`${path.slice(path.lastIndexOf('/') + 1)} ${command}`);
    return this.programs.get(path)?.(execution) ?? { failure: 'io', message: `no such program: ${path}` };
  }

  isEnding(): boolean {
    return this.isSignalled && !this.isShielded;
  }

  shield(): void {
    this.isShielded = true;
  }

  writeDurably(directory: string, name: string, text: string): void {
    if (this.fault !== undefined) throw this.fault;
    this.files.set(`${directory}/${name}`, text);
  }

  loopback(netns: string, isUp?: boolean): LoopbackState {
    if (this.fault !== undefined) throw this.fault;
    this.happened.push(`lo ${netns} ${isUp === undefined ? 'read' : isUp ? 'up' : 'down'}`);
    if (isUp !== undefined) this.lo = { ...this.lo, isUp };
    return this.lo;
  }
}
