import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Mode, ModeUnavailableError } from '../backends/mode.ts';
import { askSocket, SocketTimeoutError } from '../http/socket.ts';
import type { run as runProgram } from '../linux/exec.ts';
import { loadModes } from '../modes.ts';
import { DUMP_PATH, SOCKET_NAME } from './server.ts';
import { API_VERSION, type DumpState, isDumpState } from './state.ts';

/** Reading a large node's rules takes seconds; this is for a daemon that is stopped. */
const ASK_TIMEOUT_MS = 30_000;

/** Neither daemon nor kernel could be asked; the message says why. */
export class DumpError extends Error {
  override readonly name = 'DumpError';
}

export interface CollectOptions {
  readonly runtimeDir: string;
  /** Starts programs; the default is this process's own network namespace. */
  readonly run?: typeof runProgram | undefined;
  /** Whose rules are looked for where no daemon answers; the default is every mode. */
  readonly modes?: readonly Pick<Mode, 'name' | 'readFamilies'>[] | undefined;
  readonly askTimeoutMs?: number;
}

export interface Collected {
  readonly state: DumpState;
  /** Why the daemon didn't tell; '' when it did. */
  readonly note: string;
}

/** The daemon's view; the kernel's when no daemon answers. @throws DumpError */
export async function collectDump(options: CollectOptions): Promise<Collected> {
  const socketPath = join(options.runtimeDir, SOCKET_NAME);
  const asked = await askDaemon(socketPath, options.askTimeoutMs ?? ASK_TIMEOUT_MS);
  if (typeof asked !== 'string') return { state: asked, note: '' };
  const { state, unknown } = await readKernel(asked, options);
  const parts = [asked, 'showing what the kernel has', ...unknown];
  return { state, note: parts.join('; ') };
}

/** The daemon's answer, or in words why there is none. */
async function askDaemon(socketPath: string, timeoutMs: number): Promise<DumpState | string> {
  try {
    const { status, body } = await askSocket({ socketPath, path: DUMP_PATH, timeoutMs });
    if (status !== 200) throw new DumpError(`the daemon at ${socketPath} can't tell: ${body.trim()}`);
    const answer: unknown = JSON.parse(body);
    if (!isDumpState(answer)) throw new DumpError(`the daemon at ${socketPath} doesn't speak ${API_VERSION}`);
    return answer;
  } catch (error) {
    if (!(error instanceof Error) || error instanceof DumpError) throw error;
    return absence(error, socketPath, timeoutMs);
  }
}

function absence(error: Error, socketPath: string, timeoutMs: number): string {
  const code = 'code' in error ? error.code : '';
  if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ECONNREFUSED') return `no daemon at ${socketPath}`;
  if (code === 'EACCES' || code === 'EPERM') throw new DumpError(`not allowed to ask ${socketPath}: dump needs root`);
  if (error instanceof SocketTimeoutError) return `the daemon at ${socketPath} didn't answer for ${timeoutMs / 1000} s`;
  return `the daemon at ${socketPath} broke off (${error.message})`;
}

/** In the mode that has something there, else in one that could be asked; then `unknown` says why the others couldn't. */
async function readKernel(
  why: string,
  { run, modes }: Pick<CollectOptions, 'run' | 'modes'>,
): Promise<{ readonly state: DumpState; readonly unknown: readonly string[] }> {
  const failed: ModeUnavailableError[] = [];
  let empty: DumpState | undefined;
  for (const mode of modes ?? (await loadModes())) {
    try {
      const families = await mode.readFamilies(run === undefined ? {} : { run });
      const base = { apiVersion: API_VERSION, kind: 'Dump', source: 'kernel', mode: mode.name } as const;
      const state = { ...base, node: hostname(), families, contested: [] };
      if (families.some(({ services, shared }) => services.length > 0 || shared.rules.length > 0)) {
        return { state, unknown: [] };
      }
      empty ??= state;
    } catch (error) {
      if (!(error instanceof ModeUnavailableError)) throw error;
      failed.push(error);
    }
  }
  const reasons = failed.map(({ message }) => message);
  if (empty !== undefined) return { state: empty, unknown: reasons };
  throw new DumpError(`${why}, and the kernel can't be asked: ${reasons.join('; ')}`, { cause: failed[0]?.cause });
}
