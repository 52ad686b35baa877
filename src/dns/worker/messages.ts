/** What the main thread and a worker of DNS say to each other: plain data. */

import type { IPFamily } from '../../net/ip.ts';
import type { DnsChange } from '../engine.ts';
import type { Explanation } from '../explain.ts';
import type { ServedAddress, WatchedAddress } from '../node-address/tables.ts';
import type { DnsReadings } from '../readings.ts';
import type { DnsSettings } from '../settings.ts';

/** What a worker begins with. */
export interface WorkerData {
  readonly settings: DnsSettings;
  /** See EngineOptions. */
  readonly instance: string;
  /** A number for each worker, which it counts up while it lives: Int32. */
  readonly pulses: SharedArrayBuffer;
  /** Whose number is whose. */
  readonly index: number;
}

export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

/** An address that can't be had, and why. */
export interface ListenFailure extends SocketAddress {
  readonly message: string;
}

/** What a worker does, and says that it's done. */
export interface WorkerCalls {
  /** Listens at exactly these from now on, as far as it can; others' questions are answered before their sockets close. */
  listen(addresses: readonly SocketAddress[]): Promise<readonly ListenFailure[]>;
  readings(): DnsReadings;
  explain(name: string, type: number): Promise<Explanation>;
  /** Sockets for signs of life at each address of a family, and no others. */
  signs(family: IPFamily, addresses: readonly ServedAddress[]): Promise<readonly WatchedAddress[]>;
  /** Gives signs of life from now on, for as long as all workers live; or none, and then none is under way. */
  beat(isBeating: boolean): Promise<void>;
  /** Once more messages came before this have been worked off. */
  settled(): Promise<void>;
}

/** What a worker is told. In their order; calls don't overtake them. */
export type Notice =
  | { readonly kind: 'configure'; readonly settings: DnsSettings }
  | { readonly kind: 'changes'; readonly changes: readonly DnsChange[] }
  /** What was told so far is all that there is. */
  | { readonly kind: 'synced' };

export type ToWorker = Notice | Call;
export interface Call {
  readonly kind: 'call';
  readonly id: number;
  readonly method: keyof WorkerCalls;
  readonly args: readonly unknown[];
}

export type FromWorker =
  | { readonly kind: 'result'; readonly id: number; readonly value: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly message: string }
  /** An upstream server stopped answering, or asks us. */
  | { readonly kind: 'upstream-failure'; readonly server: SocketAddress; readonly message: string }
  /** The kernel takes no signs of life. */
  | { readonly kind: 'no-signs'; readonly message: string }
  /** An error of ours: the client got SERVFAIL. */
  | { readonly kind: 'fault'; readonly message: string; readonly stack?: string | undefined };
