/**
 * What the plugin needs of the machine. Everything is synchronous: the plugin does one thing and ends. The real one is native code
 * (native/), tests have a fake.
 */

/**
 * Why the agent gave no answer. `absent`: no socket, or nobody listens at it. `denied`: not ours to use. `ended`: a signal
 * wants an end.
 */
export type ExchangeFailure = 'absent' | 'denied' | 'timeout' | 'closed' | 'ended';

export interface Failed<Kind extends string> {
  readonly failure: Kind;
  /** The system's words. */
  readonly message: string;
}

export interface Executed {
  /** Of the process; 128 and the signal's number when a signal ended it. */
  readonly status: number;
  readonly stdout: string;
}

export interface LoopbackState {
  readonly isUp: boolean;
  readonly hasIPv6: boolean;
}

export interface Host {
  /** Every variable. */
  readonly environment: Readonly<Record<string, string>>;
  /** The name that the program was called by, with its path. */
  readonly program: string;
  readonly pid: number;
  /** Effective. */
  readonly uid: number;
  /** Whether the process has CAP_NET_ADMIN, effective. */
  readonly canAdminister: boolean;
  /** Until the end of the standard input. */
  readStdin(limits: {
    readonly maxBytes: number;
    readonly timeoutMs: number;
  }): string | Failed<'timeout' | 'too-large' | 'io' | 'ended'>;
  /** False when nobody reads any more. */
  writeStdout(text: string): boolean;
  writeStderr(text: string): void;
  /** Sends one line, and waits for one. `timeoutMs` is for all of it. The line comes without its end. */
  exchange(socket: string, line: string, timeoutMs: number): string | Failed<ExchangeFailure>;
  /** `device:inode` of a network namespace. */
  netnsIdentity(path: string): string | Failed<'missing' | 'not-a-namespace'>;
  isExecutable(path: string): boolean;
  /**
   * Runs a program to its end with this environment, variables of `overrides` instead of its own, and this standard input; its standard error
   * is ours. After `timeoutMs`, and when a signal wants an end, its process group gets SIGTERM, and SIGKILL a second later.
   */
  execute(
    path: string,
    stdin: string,
    timeoutMs: number,
    overrides?: Readonly<Record<string, string>>,
  ): Executed | Failed<'io' | 'timeout' | 'ended'>;
  /** Whether a signal (SIGTERM, SIGINT, SIGHUP) wants an end: then whatever waits, or would, fails with `ended`. */
  isEnding(): boolean;
  /** From here on such signals are ignored: what is undone is undone to its end. */
  shield(): void;
  /** The file is there, whole, when this returns, whatever happens then; makes missing directories (0700). @throws Error with the system's words */
  writeDurably(directory: string, name: string, text: string): void;
  /** Of the `lo` of a namespace; sets it first when `isUp` is given. Called once: the process then is in that namespace. @throws Error */
  loopback(netns: string, isUp?: boolean): LoopbackState;
}
