/** Processes in a lab: a stand-in for a node's DNS server (dns-node-address-main.ts), and clients (dns-node-client-main.ts). */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { TrafficTarget } from '../../src/lab/exchange.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { markedEnv } from '../../src/lab/process.ts';

const SERVER = fileURLToPath(new URL('dns-node-address-main.ts', import.meta.url));
const CLIENT = fileURLToPath(new URL('dns-node-client-main.ts', import.meta.url));

/** A program that reads lines and answers each with one. */
class Lines implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly #input: Writable;
  readonly #lines: AsyncIterator<string>;

  constructor(lab: Lab, member: string, command: readonly string[]) {
    const args = ['netns', 'exec', lab.netns(member), process.execPath, ...command];
    const child = spawn('ip', args, { env: markedEnv(lab.name), stdio: ['pipe', 'pipe', 'inherit'] });
    this.child = child;
    this.#input = child.stdin;
    this.#lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  async next(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error('the process has ended');
    return value;
  }

  ask(line: string): Promise<string> {
    this.#input.write(`${line}\n`);
    return this.next();
  }

  /** Resolves when the process is gone: `ip netns exec` becomes the program. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await gone;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

/** Asks from one member of the lab. */
export class Client implements AsyncDisposable {
  readonly from: string;
  readonly #lines: Lines;

  constructor(lab: Lab, from: string) {
    this.from = from;
    this.#lines = new Lines(lab, from, [CLIENT]);
  }

  /** Who answers at each target, or the error's name. `bytes`: the least length of the question, and so of its answer. */
  async ask(targets: readonly (TrafficTarget & { readonly bytes?: number })[]): Promise<readonly string[]> {
    return JSON.parse(await this.#lines.ask(JSON.stringify(targets)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#lines.kill();
  }
}

export interface NodeServerOptions {
  readonly lab: Lab;
  readonly node: string;
  /** How it answers. */
  readonly name: string;
  readonly port: number;
  readonly ips: readonly string[];
  /** It binds its sockets, but waits for the command `serve`. */
  readonly waits?: boolean;
}

export class NodeServer implements AsyncDisposable {
  readonly #lines: Lines;

  private constructor(lines: Lines) {
    this.#lines = lines;
  }

  /** Resolves once it serves, or waits. */
  static async start({ lab, node, name, port, ips, waits = false }: NodeServerOptions): Promise<NodeServer> {
    const lines = new Lines(lab, node, [SERVER, name, String(port), waits ? 'wait' : 'serve', ...ips]);
    if ((await lines.next()) !== 'ready') throw new Error(`${name} doesn't serve`);
    return new NodeServer(lines);
  }

  /** @throws what the command fails of */
  async do(command: string): Promise<unknown> {
    const outcome: { value?: unknown; error?: string } = JSON.parse(await this.#lines.ask(command));
    if (outcome.error !== undefined) throw new Error(outcome.error);
    return outcome.value;
  }

  signal(signal: NodeJS.Signals): void {
    this.#lines.child.kill(signal);
  }

  /** Resolves when the process is gone. */
  kill(): Promise<void> {
    return this.#lines.kill();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}
