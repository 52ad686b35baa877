/** Runs traffic inside a namespace of a lab, in a process of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { labProgram } from './install.ts';
import { markedEnv } from './process.ts';
import type { TrafficRequest } from './traffic.ts';
import type { TrafficReport } from './traffic-tally.ts';

export interface TrafficRun {
  readonly lab: string;
  readonly netns: string;
  readonly request: TrafficRequest;
}

/** Traffic that runs until it's stopped, or its lab goes. */
export class RunningTraffic implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #report: Promise<TrafficReport>;

  private constructor(child: ChildProcess, report: Promise<TrafficReport>) {
    this.#child = child;
    this.#report = report;
  }

  /** Resolves when the held connections are open and the first new one has its result. @throws when the process can't do its work */
  static async start({ lab, netns, request }: TrafficRun): Promise<RunningTraffic> {
    const command = ['netns', 'exec', netns, ...labProgram('pod'), 'traffic', JSON.stringify(request)];
    const child = spawn('ip', command, { env: markedEnv(lab), stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
    child.stdin.on('error', () => undefined); // a process that has gone says so by its status
    const [output, complaints, announcement] = child.stdio.slice(1).map(stream => text(stream as Readable));
    const report = once(child, 'close').then(async ([code]) => {
      if (code !== 0) throw new Error(`traffic in ${netns} exited with status ${code}: ${(await complaints)?.trim()}`);
      const parsed: TrafficReport = JSON.parse((await output) ?? '');
      return parsed;
    });
    report.catch(() => undefined); // whoever stops it hears of it; it mustn't end the program before
    if ((await announcement) !== 'ready') await report;
    return new RunningTraffic(child, report);
  }

  /** Opens nothing more, waits for what is under way, and reports. Idempotent. @throws when the process failed */
  stop(): Promise<TrafficReport> {
    this.#child.stdin?.end();
    return this.#report;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.end();
    await this.#report.catch(() => undefined);
  }
}
