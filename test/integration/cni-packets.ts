/** Packets for the plugin's tests: pods that say who asked them, and questions to them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { labProgram } from '../../src/lab/install.ts';
import type { ProbeRequest } from '../../src/lab/probe.ts';
import { startProbe } from '../../src/lab/probe-run.ts';

/** Answers TCP, UDP and HTTP in a namespace until it is disposed of. */
export class Echo implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(netns: string, name: string, port = 80): Promise<Echo> {
    const identity = JSON.stringify({ pod: name, node: '', ip: '' });
    const command = ['netns', 'exec', netns, ...labProgram('pod'), 'echo', identity, String(port)];
    const child = spawn('ip', command, { stdio: ['ignore', 'inherit', 'inherit', 'pipe'] });
    await once(child.stdio[3] as NodeJS.EventEmitter, 'data');
    return new Echo(child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

export type Question = Pick<ProbeRequest, 'address' | 'port'> & Partial<ProbeRequest>;

/** Asks from a namespace; `pod clientIP` of the answer, or the error. */
export async function who(netns: string, question: Question): Promise<string> {
  const request: ProbeRequest = { protocol: 'tcp', count: 1, concurrency: 1, timeoutMs: 1500, ...question };
  const probe = await startProbe({ lab: 'cni-packets', netns, request });
  const report = await probe.report;
  const [reply] = report.replies;
  return reply === undefined ? (report.failures[0]?.error ?? 'nothing') : `${reply.pod} ${reply.clientIP}`;
}
