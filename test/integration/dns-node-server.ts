/** A stand-in for a node's DNS server, as a process in a lab; see dns-node-address-main.ts. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../src/lab/lab.ts';
import { markedEnv } from '../../src/lab/process.ts';

const SCRIPT = fileURLToPath(new URL('dns-node-address-main.ts', import.meta.url));

export interface NodeServerOptions {
  readonly lab: Lab;
  readonly node: string;
  /** How it answers. */
  readonly name: string;
  readonly port: number;
  readonly ips: readonly string[];
}

export class NodeServer implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, input: Writable, lines: AsyncIterator<string>) {
    this.#child = child;
    this.#input = input;
    this.#lines = lines;
  }

  /** Resolves once it serves. */
  static async start({ lab, node, name, port, ips }: NodeServerOptions): Promise<NodeServer> {
    const command = ['netns', 'exec', lab.netns(node), process.execPath, SCRIPT, name, String(port), ...ips];
    const child = spawn('ip', command, { env: markedEnv(lab.name), stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const { value } = await lines.next();
    if (value !== 'serving') throw new Error(`${name} doesn't serve`);
    return new NodeServer(child, child.stdin, lines);
  }

  /** @throws what the command fails of */
  async do(command: string): Promise<unknown> {
    this.#input.write(`${command}\n`);
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error('the server has ended');
    const outcome: { value?: unknown; error?: string } = JSON.parse(value);
    if (outcome.error !== undefined) throw new Error(outcome.error);
    return outcome.value;
  }

  /** `ip netns exec` becomes the program: this is its own process. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves when the process is gone. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}
