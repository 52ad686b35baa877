/** `kproxy-ts ipam list` and `kproxy-ts ipam free`. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { SOCKET_NAME } from '../../dump/server.ts';
import { askSocket, type SocketAnswer } from '../../http/socket.ts';
import { canonicalIP } from '../../net/ip.ts';
import { monotonicMs, readBootId } from './boot.ts';
import { DATABASE_NAME } from './database-file.ts';
import { BusyError, readJournal } from './journal.ts';
import { type Lease, leasesOf, renderLeases } from './lease.ts';
import { badRowText, bootIdIn, readAttachments, readRest } from './loading.ts';
import { type FreeRequest, IPAM_FREE_PATH, IPAM_PATH } from './routes.ts';

/** Where the commands write; the defaults are the process's. */
export interface IpamPorts {
  readonly write: (text: string) => void;
  readonly complain: (text: string) => void;
}

export interface IpamListOptions {
  readonly output: 'table' | 'json';
  readonly runtimeDir: string;
  readonly stateDir: string;
}

export interface IpamFreeOptions {
  readonly network?: string | undefined;
  readonly address?: string | undefined;
  readonly container?: string | undefined;
  readonly isForced: boolean;
  readonly runtimeDir: string;
}

const PATIENCE_MS = 10_000;

const PROCESS_PORTS: IpamPorts = {
  write: text => void process.stdout.write(text),
  complain: text => void process.stderr.write(text),
};

/** What can't be asked or done; the message says why. */
export class IpamError extends Error {
  override readonly name = 'IpamError';
}

/** The daemon's addresses; where none runs, those of its database, which is only read. @throws IpamError */
export async function ipamListCommand(
  { output, runtimeDir, stateDir }: IpamListOptions,
  { write, complain }: IpamPorts = PROCESS_PORTS,
): Promise<void> {
  const answer = await ask(runtimeDir, { path: IPAM_PATH });
  const leases = answer instanceof Error ? offline(stateDir, { why: answer.message, complain }) : leasesIn(answer);
  write(output === 'json' ? `${JSON.stringify(leases, undefined, 2)}\n` : renderLeases(leases));
}

/** Frees an address or all of a container's. Resolves to the exit status: 1 when there is nothing such. @throws IpamError */
export async function ipamFreeCommand(
  options: IpamFreeOptions,
  { write, complain }: IpamPorts = PROCESS_PORTS,
): Promise<number> {
  const request = freeRequest(options);
  const answer = await ask(options.runtimeDir, { path: IPAM_FREE_PATH, body: JSON.stringify(request) });
  if (answer instanceof Error) {
    throw new IpamError(
      `${answer.message}; only the daemon can free an address, because it takes the pod's rules away too`,
      {
        cause: answer,
      },
    );
  }
  const freed = leasesIn(answer);
  if (freed.length === 0) complain('nothing such is held here\n');
  for (const { network, address } of freed) write(`freed ${address} of ${network}\n`);
  return freed.length === 0 ? 1 : 0;
}

function freeRequest({ network, address, container, isForced }: IpamFreeOptions): FreeRequest {
  if (container !== undefined && network === undefined) return { containerID: container, isForced };
  if (container !== undefined || network === undefined || address === undefined) {
    throw new IpamError('say which: a network and an address, or --container');
  }
  const ip = canonicalIP(address);
  if (ip === undefined) throw new IpamError(`${address} is no IP address`);
  return { network, address: ip, isForced };
}

/** An error, not thrown, when no daemon answers. */
async function ask(runtimeDir: string, request: { path: string; body?: string }): Promise<SocketAnswer | IpamError> {
  const socketPath = join(runtimeDir, SOCKET_NAME);
  try {
    return await askSocket({ socketPath, timeoutMs: PATIENCE_MS, ...request });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return new IpamError(`no daemon that answers at ${socketPath}: ${why}`, { cause: error });
  }
}

function leasesIn({ status, body }: SocketAnswer): readonly Lease[] {
  if (status !== 200) throw new IpamError(body.trim());
  return JSON.parse(body) as readonly Lease[];
}

function offline(
  stateDir: string,
  { why, complain }: { readonly why: string; readonly complain: IpamPorts['complain'] },
): readonly Lease[] {
  const path = join(stateDir, DATABASE_NAME);
  if (!existsSync(path)) throw new IpamError(`${why}; and there is no ${path}`);
  try {
    const about = readJournal(path, 'about');
    complain(`${why}; this is what ${path} says\n`);
    if (bootIdIn(about) !== readBootId()) {
      complain('it is from before the last boot: none of this is held any more\n');
    }
    const { attachments, badRows } = readAttachments(readJournal(path, 'attachments'));
    for (const row of badRows) complain(`unreadable: ${badRowText(row)}\n`);
    const rests = readJournal(path, 'rests').flatMap(row => readRest(row) ?? []);
    return leasesOf({ attachments, rests, nowMs: monotonicMs(), wallMs: Date.now() });
  } catch (error) {
    if (error instanceof BusyError) throw new IpamError(`${why}; but one has ${path} open: is --runtime-dir its own?`);
    throw new IpamError(`${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
