/**
 * What goes wrong between a cluster and its clients, made on purpose: a server that refuses, is slow, says nothing or breaks off.
 * Everything is plain data, so that it can be asked for over a control connection.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { StatusError } from './status.ts';
import type { WatchStream } from './watch-stream.ts';

/** Whom a fault meets: the requests that fit all that is given; without anything, all. */
export interface Aim {
  /** The beginning of the path, such as `/api/v1/services`. */
  readonly path?: string;
  /** The beginning of the User-Agent header: `kproxy-ts` spares those who look after the cluster meanwhile. */
  readonly userAgent?: string;
}

/** A fault that lasts until it is ended, or for `forMs` milliseconds. */
export interface Lasting extends Aim {
  readonly forMs?: number;
}

export interface Refusal extends Lasting {
  /** HTTP status, such as 429, 500 or 503. */
  readonly status: number;
  /** Goes into the header Retry-After and into the Status. */
  readonly retryAfterSeconds?: number;
}

export interface Slowness extends Lasting {
  /** How long each answer waits before it begins. */
  readonly delayMs: number;
}

export interface Cut extends Aim {
  /** `break` (default): the connection breaks; `end`: the answer ends in order, as some proxies do with a broken one. */
  readonly ending?: 'break' | 'end';
}

/** Ends the fault; nothing happens when it is over already. */
export type EndFault = () => void;

type Active =
  | ({ readonly kind: 'refuse' } & Refusal)
  | ({ readonly kind: 'slow' } & Slowness)
  | ({ readonly kind: 'stall' } & Lasting);

const REASONS: ReadonlyMap<number, readonly [reason: string, message: string]> = new Map([
  [401, ['Unauthorized', 'Unauthorized']],
  [403, ['Forbidden', 'forbidden']],
  [410, ['Expired', 'The resourceVersion for the provided list is too old.']],
  [429, ['TooManyRequests', 'the server has received too many requests and has asked us to try again later']],
  [500, ['InternalError', 'Internal error occurred: etcdserver: request timed out']],
  [503, ['ServiceUnavailable', 'the server is currently unable to handle the request']],
  [504, ['Timeout', 'the server was unable to return a response in the time allotted']],
]);

function refusalOf({ status, retryAfterSeconds }: Refusal): StatusError {
  const [reason, message] = REASONS.get(status) ?? ['', `refused with ${status}`];
  const details = retryAfterSeconds === undefined ? {} : { details: { retryAfterSeconds } };
  return new StatusError(status, message, { ...(reason === '' ? {} : { reason }), ...details });
}

function isMet({ path = '', userAgent = '' }: Aim, { url = '', headers }: IncomingMessage): boolean {
  return url.startsWith(path) && (headers['user-agent'] ?? '').startsWith(userAgent);
}

/** The faults of one server: those that last, and the answers and watches that they can meet. */
export class Faults {
  readonly #active = new Map<Active, NodeJS.Timeout | undefined>();
  readonly #waiting = new Set<() => void>();
  readonly #open = new Map<ServerResponse, IncomingMessage>();
  readonly #watches = new Map<WatchStream, IncomingMessage>();

  /** Watches that are open now. */
  get watchCount(): number {
    return this.#watches.size;
  }

  get watches(): Iterable<WatchStream> {
    return this.#watches.keys();
  }

  /** Answers every request with a status. Open watches live on. */
  refuse(refusal: Refusal): EndFault {
    return this.#begin({ kind: 'refuse', ...refusal });
  }

  /** Answers late. */
  slow(slowness: Slowness): EndFault {
    return this.#begin({ kind: 'slow', ...slowness });
  }

  /** Takes connections and requests and says nothing; open watches fall silent without an end. Afterwards all is answered. */
  stall(lasting: Lasting = {}): EndFault {
    const end = this.#begin({ kind: 'stall', ...lasting });
    this.#holdWatches();
    return end;
  }

  /** Breaks each watch in the middle of the next line that it carries. */
  cutWatches({ ending = 'break', ...aim }: Cut = {}): void {
    for (const watch of this.#watchesOf(aim)) watch.cut(ending);
  }

  /** Sends each watch a 410 as ERROR event and ends it. */
  expireWatches(aim: Aim = {}): void {
    for (const watch of this.#watchesOf(aim)) watch.expire();
  }

  /** Breaks the connections of the requests that are under way, watches among them. */
  dropConnections(aim: Aim = {}): void {
    for (const [response, request] of this.#open) if (isMet(aim, request)) response.socket?.destroy();
  }

  /** Holds a request back for as long as the faults say; throws the StatusError that it is refused with. */
  async meet(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.#open.set(response, request);
    response.once('close', () => this.#open.delete(response));
    while (this.#has('stall', request)) await new Promise<void>(resolve => this.#waiting.add(resolve));
    for (const fault of this.#active.keys()) {
      if (!isMet(fault, request)) continue;
      if (fault.kind === 'refuse') throw refusalOf(fault);
      if (fault.kind === 'slow') await new Promise(resolve => setTimeout(resolve, fault.delayMs).unref());
    }
  }

  /** Takes an open watch into account until its end. */
  addWatch(watch: WatchStream, request: IncomingMessage, response: ServerResponse): void {
    this.#watches.set(watch, request);
    response.once('close', () => this.#watches.delete(watch));
    this.#holdWatches();
  }

  /** Ends all faults that last. */
  end(): void {
    for (const fault of this.#active.keys()) this.#end(fault);
  }

  #begin(fault: Active): EndFault {
    const end = () => this.#end(fault);
    this.#active.set(fault, fault.forMs === undefined ? undefined : setTimeout(end, fault.forMs).unref());
    return end;
  }

  #end(fault: Active): void {
    clearTimeout(this.#active.get(fault));
    this.#active.delete(fault);
    this.#holdWatches();
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  #has(kind: Active['kind'], request: IncomingMessage): boolean {
    return [...this.#active.keys()].some(fault => fault.kind === kind && isMet(fault, request));
  }

  #holdWatches(): void {
    for (const [watch, request] of this.#watches) watch.hold(this.#has('stall', request));
  }

  #watchesOf(aim: Aim): WatchStream[] {
    return [...this.#watches].filter(([, request]) => isMet(aim, request)).map(([watch]) => watch);
  }
}
