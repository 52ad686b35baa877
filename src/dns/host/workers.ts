import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../log.ts';
import type { IPFamily } from '../../net/ip.ts';
import type { DnsChange } from '../engine.ts';
import type { Explanation } from '../explain.ts';
import type { ServedAddress, WatchedAddress } from '../node-address/tables.ts';
import type { DnsReadings } from '../readings.ts';
import type { DnsSettings } from '../settings.ts';
import type { ListenFailure, Notice, SocketAddress } from '../worker/messages.ts';
import { DnsThread } from './thread.ts';

/** Changes of one message: a copy of them is made in one go. */
const CHANGES_PER_MESSAGE = 500;
/** For a scrape, whose client waits for some seconds. */
const READINGS_MS = 1000;
/** See EngineOptions: a name that nobody else has. */
const INSTANCE_BYTES = 8;

export interface WorkersOptions {
  readonly count: number;
  readonly settings: DnsSettings;
  readonly log: Logger;
  /** A worker ended by itself: questions to it are lost until there is another. */
  readonly onDeath: (error: Error) => void;
}

/** Some workers that know and do the same. */
export class Workers implements AsyncDisposable {
  readonly #threads: readonly DnsThread[];

  constructor({ count, settings, log, onDeath }: WorkersOptions) {
    const onUpstreamFailure = (server: SocketAddress, message: string) => log.warn({ upstream: server }, message);
    const onNoSigns = (message: string) =>
      log.warn(`${message}; the DNS Service's endpoints answer until there is one`);
    const onFault = (error: unknown) => log.error({ err: error }, 'an answer failed, please report this');
    const instance = randomBytes(INSTANCE_BYTES).toString('hex');
    const pulses = new SharedArrayBuffer(count * Int32Array.BYTES_PER_ELEMENT);
    const options = { settings, instance, pulses, onUpstreamFailure, onNoSigns, onFault, onDeath };
    this.#threads = Array.from({ length: count }, (_, index) => new DnsThread({ ...options, index }));
  }

  configure(settings: DnsSettings): void {
    this.#tell({ kind: 'configure', settings });
  }

  apply(changes: Iterable<DnsChange>): void {
    const all = [...changes];
    for (let at = 0; at < all.length; at += CHANGES_PER_MESSAGE) {
      this.#tell({ kind: 'changes', changes: all.slice(at, at + CHANGES_PER_MESSAGE) });
    }
  }

  synced(): void {
    this.#tell({ kind: 'synced' });
  }

  /** Those that some worker couldn't have, each once; all of them when no worker is left. */
  async listen(addresses: readonly SocketAddress[]): Promise<readonly ListenFailure[]> {
    const results = await Promise.allSettled(this.#threads.map(thread => thread.call('listen', addresses)));
    const failures = results.flatMap(result => (result.status === 'fulfilled' ? [result.value] : []));
    if (failures.length === 0) return addresses.map(where => ({ ...where, message: 'no DNS worker lives' }));
    return [...new Map(failures.flat().map(failure => [`${failure.address} ${failure.port}`, failure])).values()];
  }

  /** See WorkerCalls: one of them does it for all. */
  follow(family: IPFamily, addresses: readonly ServedAddress[]): Promise<readonly WatchedAddress[]> {
    return this.#first.call('signs', family, addresses);
  }

  beat(isBeating: boolean): Promise<void> {
    return this.#first.call('beat', isBeating);
  }

  /** Resolves when none gives a sign of life: who has ended, or ends, gives none. */
  async still(): Promise<void> {
    const first = this.#first;
    try {
      await first.call('beat', false);
    } catch (error) {
      if (first.isAlive) throw error;
    }
  }

  /** Resolves when what was told so far is what they answer from. */
  async settled(): Promise<void> {
    await Promise.all(this.#threads.map(thread => thread.call('settled')));
  }

  /** Of each worker that lives and says so in time: the others' are no reason to have none. */
  async readings(): Promise<readonly DnsReadings[]> {
    const late = new AbortController();
    const none = delay(READINGS_MS, undefined, { signal: late.signal }).catch(() => undefined); // aborted: not needed
    const read = (thread: DnsThread) => Promise.race([thread.call('readings').catch(() => undefined), none]);
    const all = await Promise.all(this.#threads.map(read));
    late.abort();
    return all.filter(readings => readings !== undefined);
  }

  explain(name: string, type: number): Promise<Explanation> {
    return this.#first.call('explain', name, type);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#threads.map(thread => thread[Symbol.asyncDispose]()));
  }

  /** One that does what one of them does for all. */
  get #first(): DnsThread {
    return this.#threads.find(({ isAlive }) => isAlive) ?? this.#threads[0]!;
  }

  #tell(notice: Notice): void {
    for (const thread of this.#threads) thread.tell(notice);
  }
}
