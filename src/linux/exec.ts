/**
 * Starts programs and waits for them: the only importer of execa.
 * Kernel tools answer in English and without colour whatever the operator's locale is, so that their errors can be classified.
 */
import { ExecaError, execa } from 'execa';

export interface RunOptions {
  /** Written to the program's standard input, which is then closed; without it the input is empty. Parts are made as it reads. */
  readonly input?: string | Iterable<string>;
  /** Beyond this the program is killed and the call fails with `isTimeout`. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** A named network namespace (as `ip netns` lists them) to run in. */
  readonly netns?: string;
  /** Gets what the program writes to its standard output as it comes, instead of Output.stdout. */
  readonly onOutput?: (chunk: Buffer) => void;
  /** Gets the program's process id once it has one. */
  readonly onStart?: (pid: number) => void;
  /** Added to our own environment. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

interface ExecFailure {
  /** -1 when the program never ran, or was ended by a signal. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly isNotFound: boolean;
  readonly isTimeout: boolean;
  readonly cause: unknown;
}

/** A program that couldn't be started, failed, or took too long. `op` is the command as a person would type it. */
export class ExecError extends Error {
  override readonly name = 'ExecError';
  readonly op: string;
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly isNotFound: boolean;
  readonly isTimeout: boolean;

  constructor(op: string, failure: ExecFailure) {
    super(`${op}: ${reason(failure)}`, { cause: failure.cause });
    this.op = op;
    this.exitCode = failure.exitCode;
    this.stdout = failure.stdout;
    this.stderr = failure.stderr;
    this.isNotFound = failure.isNotFound;
    this.isTimeout = failure.isTimeout;
  }
}

function reason(failure: ExecFailure): string {
  if (failure.isNotFound) return 'no such program';
  if (failure.isTimeout) return 'took too long and was ended';
  const said = failure.stderr.trim();
  if (failure.exitCode === -1) return said === '' ? 'ended by a signal' : `ended by a signal: ${said}`;
  return said === '' ? `exit status ${failure.exitCode}` : `exit status ${failure.exitCode}: ${said}`;
}

const maxOutputBytes = 256 * 1024 * 1024; // a large node's iptables-save goes far beyond execa's default

/**
 * Runs a program to its end and returns what it wrote.
 * @throws {ExecError} when it can't be started, exits with a status other than 0, or exceeds `timeoutMs`; `signal` aborts it.
 */
export async function run(file: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Output> {
  const command = options.netns === undefined ? [file, ...args] : ['ip', 'netns', 'exec', options.netns, file, ...args];
  const [program = file, ...rest] = command;
  const { input = '', onOutput, timeoutMs, signal } = options;
  try {
    const child = execa(program, rest, {
      env: { ...options.env, LC_ALL: 'C' },
      ...(typeof input === 'string' ? { input } : { stdin: input }),
      stripFinalNewline: false,
      maxBuffer: maxOutputBytes,
      ...(onOutput === undefined ? {} : { buffer: { stdout: false } }),
      ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }),
      ...(signal === undefined ? {} : { cancelSignal: signal }),
    });
    if (child.pid !== undefined) options.onStart?.(child.pid);
    if (onOutput !== undefined) child.stdout?.on('data', onOutput);
    const { stdout, stderr } = await child;
    return { stdout: text(stdout), stderr: text(stderr) };
  } catch (error) {
    throw toExecError(command.join(' '), error);
  }
}

const ipFoundNothing = /^exec of "[^"]*" failed: No such file or directory$/m; // what `ip netns exec` says of a missing program

function toExecError(op: string, error: unknown): unknown {
  if (!(error instanceof ExecaError)) return error;
  return new ExecError(op, {
    exitCode: error.exitCode ?? -1,
    stdout: text(error.stdout),
    stderr: text(error.stderr),
    isNotFound: error.code === 'ENOENT' || ipFoundNothing.test(text(error.stderr)),
    isTimeout: error.timedOut,
    cause: error.cause,
  });
}

function text(output: unknown): string {
  return typeof output === 'string' ? output : '';
}
