/**
 * A shell that starts programs for us. To start one from here copies this process's page tables: 6 ms at 60 MB, 24 ms at 350 MB, in which nothing else
 * happens; a shell of 1 MB does it in less than one. One program at a time; the shell ends with us, after the program that runs.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { Readable, Writable } from 'node:stream';
import { ExecError, type Output, run } from './exec.ts';

type Process = ChildProcessByStdio<Writable, Readable, Readable>;

export interface ShellRunOptions {
  readonly input: string;
  /** Beyond this the program is killed and the call fails with `isTimeout`. */
  readonly timeoutMs: number;
}

/** What a shell says of a program that isn't there, and of one that was ended by a signal (POSIX, Shell Command Language 2.8.2). */
const NOT_FOUND = 127;
const SIGNALLED = 128;

export class Shell implements Disposable {
  readonly #path: string;
  #process: Process | undefined;
  #last: Promise<unknown> = Promise.resolve();

  /** @param path of the shell; where there is none, programs are started from here. */
  constructor(path = '/bin/sh') {
    this.#path = path;
  }

  /** As `run` of exec.ts. @throws {ExecError} */
  run(file: string, args: readonly string[], options: ShellRunOptions): Promise<Output> {
    const work = this.#last.then(() => this.#run(file, args, options));
    this.#last = work.catch(() => undefined);
    return work;
  }

  /** Lets the shell end, after the program that runs. */
  [Symbol.dispose](): void {
    this.#process?.stdin.end();
    this.#process = undefined;
  }

  async #run(file: string, args: readonly string[], options: ShellRunOptions): Promise<Output> {
    const shell = this.#process ?? (await this.#start());
    if (shell === undefined) return run(file, args, options);
    this.#process = shell;
    const op = [file, ...args].join(' ');
    const mark = randomUUID();
    // The mark tells on both streams where the output of this program ends.
    const end = `s=$?; echo; echo "${mark} $s"; { echo; echo "${mark} $s"; } >&2`;
    let isTimeout = false;
    const timer = setTimeout(() => {
      isTimeout = true;
      killGroup(shell);
    }, options.timeoutMs);
    try {
      const outputs = Promise.all([outputOf(shell, shell.stdout, mark), outputOf(shell, shell.stderr, mark)]);
      shell.stdin.write(`${[file, ...args].map(quote).join(' ')} <<'${mark}'\n${options.input}\n${mark}\n${end}\n`);
      const [stdout, stderr] = await outputs;
      if (stdout.status === 0) return { stdout: stdout.text, stderr: stderr.text };
      if (stdout.status === undefined) this.#process = undefined;
      throw failure(op, { status: stdout.status, stdout: stdout.text, stderr: stderr.text, isTimeout });
    } finally {
      clearTimeout(timer);
    }
  }

  /** undefined = there is none. */
  #start(): Promise<Process | undefined> {
    const { promise, resolve } = Promise.withResolvers<Process | undefined>();
    // A group of its own, so that a program that hangs can be killed with it.
    const child = spawn(this.#path, [], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, LC_ALL: 'C' },
    });
    child.once('spawn', () => resolve(child));
    child.once('error', () => resolve(undefined));
    child.once('exit', () => {
      if (this.#process === child) this.#process = undefined;
    });
    child.stdin.on('error', () => undefined); // a shell that has gone says so by its streams' ends
    child.unref();
    for (const stream of [child.stdin, child.stdout, child.stderr])
      if ('unref' in stream) (stream.unref as () => void)();
    return promise;
  }
}

/** Around the mark: line ends, a space, three digits. */
const LONGEST_STATUS = 16;

interface Ended {
  readonly text: string;
  /** undefined = the shell has gone. */
  readonly status: number | undefined;
}

/** What comes on one stream up to the mark. */
function outputOf(shell: Process, stream: Readable, mark: string): Promise<Ended> {
  const { promise, resolve } = Promise.withResolvers<Ended>();
  const chunks: string[] = [];
  let tail = '';
  const settle = (ended: Ended) => {
    stream.off('data', read);
    shell.off('close', gone);
    resolve(ended);
  };
  const read = (chunk: string) => {
    chunks.push(chunk);
    // The mark is the last that comes; only the end is looked at, however much there was.
    tail = (tail + chunk).slice(-(mark.length + LONGEST_STATUS));
    if (!tail.endsWith('\n') || !tail.includes(`\n${mark} `)) return;
    const text = chunks.join('');
    const at = text.lastIndexOf(`\n${mark} `);
    settle({ text: text.slice(0, at), status: Number(text.slice(at + mark.length + 2)) });
  };
  const gone = () => settle({ text: chunks.join(''), status: undefined });
  stream.setEncoding('utf8');
  stream.on('data', read);
  shell.once('close', gone);
  return promise;
}

interface Failure extends Output {
  readonly status: number | undefined;
  readonly isTimeout: boolean;
}

function failure(op: string, { status, stdout, stderr, isTimeout }: Failure): ExecError {
  const isNotFound = status === NOT_FOUND;
  const exitCode = status === undefined || isNotFound || status > SIGNALLED ? -1 : status;
  return new ExecError(op, { exitCode, stdout, stderr, isNotFound, isTimeout, cause: undefined });
}

function killGroup({ pid }: Process): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // It ended at this moment.
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
