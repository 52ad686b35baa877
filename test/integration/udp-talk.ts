import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../src/lab/lab.ts';
import { markedEnv } from '../../src/lab/process.ts';

const SCRIPT = fileURLToPath(new URL('udp-talk-main.ts', import.meta.url));

export interface UdpTarget {
  readonly address: string;
  readonly port: number;
}

/** A UDP client in a lab that sends everything from one socket, as DNS resolvers and syslog do. */
export class UdpTalk implements Disposable {
  readonly sourcePort: number;
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, input: Writable, lines: AsyncIterator<string>, sourcePort: number) {
    this.sourcePort = sourcePort;
    this.#child = child;
    this.#input = input;
    this.#lines = lines;
  }

  /** `timeoutMs`: how long to wait for each answer. */
  static async open(lab: Lab, from: string, { address, port }: UdpTarget, timeoutMs = 300): Promise<UdpTalk> {
    const args = [address, String(port), String(timeoutMs)];
    const command = ['netns', 'exec', lab.netns(from), process.execPath, SCRIPT, ...args];
    const child = spawn('ip', command, { env: markedEnv(lab.name), stdio: ['pipe', 'pipe', 'inherit'] });
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    const first = await lines.next();
    return new UdpTalk(child, child.stdin, lines, Number(first.value));
  }

  /** Sends a datagram; the pod that answers, or what came instead: an errno name, or `timeout`. */
  async who(): Promise<string> {
    this.#input.write('\n');
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error('the client has ended');
    return value;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
