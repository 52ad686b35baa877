/** One connection from inside a lab that stays open, to see what lives through a change. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import type { Answer } from './echo.ts';
import { labProgram } from './install.ts';
import { markedEnv } from './process.ts';

export interface TalkOptions {
  readonly lab: string;
  readonly netns: string;
  readonly address: string;
  readonly port: number;
}

/** A held connection. Close it, or it lives as long as the lab. */
export class Talk implements AsyncDisposable {
  /** Who answered when the connection was opened. */
  readonly peer: Answer;
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, input: Writable, lines: AsyncIterator<string>, peer: Answer) {
    this.#child = child;
    this.#input = input;
    this.#lines = lines;
    this.peer = peer;
  }

  /** @throws when the connection isn't answered within 5 s */
  static async open({ lab, netns, address, port }: TalkOptions): Promise<Talk> {
    const [program, ...args] = labProgram('pod');
    const command = ['netns', 'exec', netns, program, ...args, 'talk', address, String(port)];
    const child = spawn('ip', command, { env: markedEnv(lab), stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    try {
      const first = await ask(child.stdin, lines, 'who', 5000);
      return new Talk(child, child.stdin, lines, JSON.parse(first));
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  /** Sends a line and returns what comes back: the same line, from a pod. @throws when nothing does within `timeoutMs` */
  say(line: string, timeoutMs = 5000): Promise<string> {
    return ask(this.#input, this.#lines, line, timeoutMs);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#child.once('exit', () => resolve());
    this.#child.kill('SIGKILL');
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function ask(input: Writable, lines: AsyncIterator<string>, line: string, timeoutMs: number): Promise<string> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer to '${line}' within ${timeoutMs} ms`)), timeoutMs);
  input.on('error', reject);
  try {
    input.write(`${line}\n`);
    const next = await Promise.race([lines.next(), late]);
    if (next.done === true) throw new Error('the connection was closed');
    return next.value;
  } finally {
    clearTimeout(timer);
    input.off('error', reject);
  }
}
