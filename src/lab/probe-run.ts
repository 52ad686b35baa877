/** Runs a probe inside a namespace of a lab, in a process of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { labProgram } from './install.ts';
import type { ProbeReport, ProbeRequest } from './probe.ts';
import { markedEnv } from './process.ts';

export interface ProbeRun {
  readonly lab: string;
  readonly netns: string;
  readonly request: ProbeRequest;
}

export interface RunningProbe {
  /** Rejects when the probing process fails, not when connections do. */
  readonly report: Promise<ProbeReport>;
  /** Begins no further connection; the report has those that are under way. */
  stop(): void;
}

/** Starts a probe; resolves when its first connection has a result. @throws when the process can't do its work */
export async function startProbe({ lab, netns, request }: ProbeRun): Promise<RunningProbe> {
  const command = ['netns', 'exec', netns, ...labProgram('pod'), 'probe', JSON.stringify(request)];
  const child = spawn('ip', command, { env: markedEnv(lab), stdio: ['pipe', 'pipe', 'pipe', 'pipe'] });
  child.stdin.on('error', () => undefined); // a process that has gone says so by its status
  const [output, complaints, announcement] = child.stdio.slice(1).map(stream => text(stream as Readable));
  const report = once(child, 'close').then(async ([code]) => {
    if (code !== 0) throw new Error(`probe in ${netns} exited with status ${code}: ${(await complaints)?.trim()}`);
    const parsed: ProbeReport = JSON.parse((await output) ?? '');
    return parsed;
  });
  report.catch(() => undefined); // whoever awaits it hears of it; it mustn't end the program before
  if ((await announcement) !== 'ready') await report;
  return { report, stop: () => child.stdin.end() };
}
