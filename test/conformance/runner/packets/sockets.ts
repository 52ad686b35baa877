/** What the processes with sockets are asked, and what they answer. */

export type SocketProtocol = 'TCP' | 'UDP';

/** Where a packet arrived, and the source that it had there. */
export interface Arrival {
  readonly place: string;
  readonly ip: string;
  readonly port: number;
  readonly seenIP: string;
  readonly seenPort: number;
}

/** TCP on all addresses, UDP on one: a datagram doesn't tell which of its listener's addresses it came to. */
export interface ListenParams {
  readonly place: string;
  readonly tcp: readonly number[];
  readonly udp: readonly { readonly ip: string; readonly port: number }[];
}

export interface AttemptParams {
  readonly protocol: SocketProtocol;
  readonly source: string;
  readonly destination: string;
  readonly port: number;
  readonly count: number;
  readonly timeoutMs: number;
}

/** What became of one new connection. */
export type Attempt =
  | { readonly kind: 'answered'; readonly by: Arrival; readonly localPort: number }
  | { readonly kind: 'refused' }
  | { readonly kind: 'silent' }
  | { readonly kind: 'error'; readonly error: string };

/** A connection's token, by which a datagram that was never answered is found where it arrived. */
export const PROBE_WORD = 'who';
