/** Probes from a namespace in a process that lives there: to start one takes longer than most probes. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { labProgram } from './install.ts';
import type { ProbeReport, ProbeRequest } from './probe.ts';
import { markedEnv } from './process.ts';

export interface ProberPlace {
  readonly lab: string;
  readonly netns: string;
}

export class Prober {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #waiting = new Map<number, PromiseWithResolvers<ProbeReport>>();
  #asked = 0;
  #end: Error | undefined;

  constructor({ lab, netns }: ProberPlace) {
    const command = ['netns', 'exec', netns, ...labProgram('pod'), 'probes'];
    this.#child = spawn('ip', command, { env: markedEnv(lab), stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdin.on('error', () => undefined); // a process that has gone says so by its status
    createInterface(this.#child.stdout).on('line', line => this.#take(JSON.parse(line)));
    this.#child.on('close', code => {
      this.#end = new Error(`the prober of ${netns} exited with status ${code}`);
      for (const { reject } of this.#waiting.values()) reject(this.#end);
      this.#waiting.clear();
    });
    this.#hold(false);
  }

  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** Rejects when the process ends, not when connections fail. */
  probe(request: ProbeRequest): Promise<ProbeReport> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    const id = this.#asked;
    this.#asked += 1;
    const waiting = Promise.withResolvers<ProbeReport>();
    this.#waiting.set(id, waiting);
    this.#hold(true);
    this.#child.stdin.write(`${JSON.stringify({ id, request })}\n`);
    return waiting.promise;
  }

  /** Its process goes, with the probes that are under way. */
  end(): void {
    this.#child.kill('SIGKILL');
  }

  #take({ id, report }: { readonly id: number; readonly report: ProbeReport }): void {
    this.#waiting.get(id)?.resolve(report);
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) this.#hold(false);
  }

  /** Nobody's program goes on for a prober that isn't asked. */
  #hold(isAsked: boolean): void {
    const parts = [this.#child, this.#child.stdin as Socket, this.#child.stdout as Socket];
    for (const part of parts) {
      if (isAsked) part.ref();
      else part.unref();
    }
  }
}

/** Those of a lab, by namespace; each starts when it is first asked. */
export class Probers {
  readonly #lab: string;
  readonly #probers = new Map<string, Prober>();

  constructor(lab: string) {
    this.#lab = lab;
  }

  probe(netns: string, request: ProbeRequest): Promise<ProbeReport> {
    const known = this.#probers.get(netns);
    const prober = known === undefined || known.hasEnded ? new Prober({ lab: this.#lab, netns }) : known;
    this.#probers.set(netns, prober);
    return prober.probe(request);
  }

  /** Before a namespace goes. */
  end(netns: string): void {
    this.#probers.get(netns)?.end();
    this.#probers.delete(netns);
  }

  endAll(): void {
    for (const netns of [...this.#probers.keys()]) this.end(netns);
  }
}
