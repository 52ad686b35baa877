import { hostname } from 'node:os';
import { join } from 'node:path';
import type { IptablesIO } from '../backends/iptables/apply.ts';
import { IPTABLES_NFT } from '../backends/iptables/backend.ts';
import { IPTABLES_DUMP } from '../backends/iptables/dump-format.ts';
import { readPlan } from '../backends/iptables/read.ts';
import { toolsOf } from '../backends/iptables/tools.ts';
import { askSocket, SocketTimeoutError } from '../http/socket.ts';
import { ExecError } from '../linux/exec.ts';
import type { IPFamily } from '../watch/objects.ts';
import { kernelFamily } from './from-kernel.ts';
import { DUMP_PATH, SOCKET_NAME } from './server.ts';
import { API_VERSION, type DumpFamily, type DumpState, isDumpState } from './state.ts';

const IP6TABLES_NFT = toolsOf('nft', 'IPv6');

/** Reading a large node's rules takes seconds; this is for a daemon that is stopped. */
const ASK_TIMEOUT_MS = 30_000;

/** Neither daemon nor kernel could be asked; the message says why. */
export class DumpError extends Error {
  override readonly name = 'DumpError';
}

export interface CollectOptions {
  readonly runtimeDir: string;
  /** Starts programs; the default is this process's own network namespace. */
  readonly run?: IptablesIO['run'];
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
  return { state: await readKernel(asked, options.run), note: `${asked}; showing what the kernel has` };
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

async function readKernel(why: string, run: IptablesIO['run']): Promise<DumpState> {
  const io = run === undefined ? {} : { run };
  try {
    const families = [await readFamily('IPv4', { tools: IPTABLES_NFT, ...io })];
    const second = await readSecondFamily(io);
    if (second !== undefined) families.push(second);
    const base = { apiVersion: API_VERSION, kind: 'Dump', source: 'kernel', mode: 'iptables' } as const;
    return { ...base, node: hostname(), families, contested: [] };
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    throw new DumpError(`${why}, and the kernel can't be asked: ${error.message}`, { cause: error });
  }
}

async function readFamily(family: IPFamily, io: IptablesIO): Promise<DumpFamily> {
  return kernelFamily(family, await readPlan(io), IPTABLES_DUMP);
}

/** IPv6 where somebody programmed it: a node may lack it altogether. */
async function readSecondFamily(io: Pick<IptablesIO, 'run'>): Promise<DumpFamily | undefined> {
  try {
    const family = await readFamily('IPv6', { tools: IP6TABLES_NFT, ...io });
    return family.services.length > 0 || family.shared.rules.length > 0 ? family : undefined;
  } catch (error) {
    if (error instanceof ExecError) return undefined;
    throw error;
  }
}
