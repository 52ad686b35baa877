import { ApiError } from './api-error.ts';
import { type Clock, pause, Watchdog } from './clock.ts';

/** How long a watch may say nothing before a second look; and a spread, so that nodes don't look in step. */
const QUIET_MS = 30_000;
const QUIET_SPREAD_MS = 10_000;
/** How long a watch may lag behind what another connection has heard. */
const GRACE_MS = 5000;
/** The longest that nothing at all shows that a watch is alive. */
const DEAD_MS = 60_000;

export interface WatchGuardOptions {
  readonly clock: Clock;
  /** Numbers from 0 to below 1. */
  readonly random: () => number;
  /** Whether the server has events that the watch hasn't brought so far, asked on another connection. */
  readonly hasMissed: (signal: AbortSignal) => Promise<boolean>;
}

/**
 * Notices within a minute that a watch tells nothing any more, although its connection seems to live: a proxy or load
 * balancer that holds one end of a dead connection, a server that hangs. TCP keepalive only finds peers that vanished.
 *
 * Bookmarks come once a minute at best (kube-apiserver: bookmarkFrequency) and nobody promises them, so their absence says
 * nothing in time. Nor does the version of a list: it is that of the whole etcd and always ahead of ours. What is conclusive
 * is a second watch from our version, open for a second: events on it that the first doesn't bring mean that the first is
 * dead; none mean that nothing was missed. It costs no list and no read of etcd (the watch cache serves it), and only after
 * 30 to 40 s of silence: with bookmarks each minute that is at most one small request a minute for each kind where nothing
 * happens, a tenth of what a kubelet asks for.
 */
export class WatchGuard implements Disposable {
  readonly #options: WatchGuardOptions;
  readonly #dead = new AbortController();
  readonly #stop = new AbortController();
  readonly #quietMs: number;
  #deadline: Watchdog | undefined;
  #cancelLook: (() => void) | undefined;
  #aliveAtMs = 0;
  #signs = 0;
  #lookFailure = '';

  constructor(options: WatchGuardOptions) {
    this.#options = options;
    this.#quietMs = Math.round(QUIET_MS + QUIET_SPREAD_MS * options.random());
  }

  /** Aborted when the watch is dead; the reason is an ApiError. */
  get signal(): AbortSignal {
    return this.#dead.signal;
  }

  /** The watch is open; to be called once. */
  begin(): void {
    const { clock } = this.#options;
    this.#aliveAtMs = clock.now();
    this.#deadline = new Watchdog(clock, DEAD_MS, () => this.#expire());
    this.#cancelLook = clock.after(this.#quietMs, () => this.#look());
  }

  /** The watch brought something. */
  touch(): void {
    this.#signs += 1;
    this.#isAlive();
  }

  [Symbol.dispose](): void {
    this.#stop.abort();
    this.#deadline?.[Symbol.dispose]();
    this.#cancelLook?.();
  }

  #isAlive(): void {
    this.#aliveAtMs = this.#options.clock.now();
    this.#lookFailure = '';
    this.#deadline?.touch();
  }

  #expire(): void {
    const seconds = DEAD_MS / 1000;
    this.#die(
      `silent for ${seconds} s${this.#lookFailure === '' ? '' : `, and asked elsewhere: ${this.#lookFailure}`}`,
    );
  }

  #die(message: string): void {
    this[Symbol.dispose]();
    this.#dead.abort(new ApiError('deadline', message));
  }

  #look(): void {
    const { clock } = this.#options;
    const left = this.#aliveAtMs + this.#quietMs - clock.now();
    if (left > 0) {
      this.#cancelLook = clock.after(left, () => this.#look());
      return;
    }
    void this.#lookElsewhere().then(() => {
      if (!this.#stop.signal.aborted) this.#cancelLook = clock.after(this.#quietMs, () => this.#look());
    });
  }

  async #lookElsewhere(): Promise<void> {
    const { clock, hasMissed } = this.#options;
    const { signal } = this.#stop;
    const signs = this.#signs;
    try {
      const isBehind = await hasMissed(signal);
      if (signal.aborted) return;
      if (!isBehind) this.#isAlive();
      else if (this.#signs === signs) {
        await pause(clock, GRACE_MS, signal);
        if (!signal.aborted && this.#signs === signs)
          this.#die('the watch brings nothing of what the server has to tell');
      }
    } catch (error) {
      // No sign of life, no proof of death: the deadline decides, and says this.
      this.#lookFailure = error instanceof Error ? error.message : String(error);
    }
  }
}
