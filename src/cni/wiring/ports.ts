/** What wiring needs of the machine. The real ones are made in wiring.ts; tests put failures between. */
import type { Netns } from '../../linux/netns.ts';
import { NetlinkError } from '../../linux/nfnetlink.ts';
import type { RouteKernel } from '../../linux/route-socket.ts';
import { CniError, CODE } from '../types.ts';

export interface Sysctls {
  /** Below /proc/sys/net, of the namespace that the thread is in. @throws an error of the file system */
  read(name: string): string;
  write(name: string, value: string): void;
}

export interface PodNamespace extends Disposable {
  readonly fd: number;
  readonly identity: string;
  readonly route: RouteKernel;
  /** Runs `work` in the namespace; it starts nothing that goes on. */
  within(work: (sysctls: Sysctls) => void): void;
}

export interface WiringPorts {
  /** Of our own namespace. */
  readonly route: RouteKernel;
  readonly sysctls: Sysctls;
  readonly home: Netns;
  /** @throws NetlinkError, or an error of the file system */
  openPod(path: string): PodNamespace;
}

/** What a failure is for the runtime. */
export function asCniError(error: unknown, code: number = CODE.kernel): CniError {
  if (error instanceof CniError) return error;
  if (error instanceof NetlinkError || (error instanceof Error && 'code' in error))
    return new CniError(code, error.message);
  throw error;
}

export const EEXIST = 17;
export const ENODEV = 19;

export const isErrno = (error: unknown, errno: number) => error instanceof NetlinkError && error.errno === errno;
