import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { errorOf } from '../worker/fault.ts';
import type { FromWorker, Notice, SocketAddress, ToWorker, WorkerCalls, WorkerData } from '../worker/messages.ts';

/** Beside this module as it is in the sources, beside the program in the bundle. */
const ENTRY = new URL(import.meta.url.endsWith('.ts') ? '../worker/main.ts' : '../dns-worker.mjs', import.meta.url);
/** A worker that hangs is waited for no longer: what is asked is answered within 5 s. */
const LAST_ANSWERS_MS = 7000;
/** MB: what lives long is built at the start, and answers leave little behind. */
const YOUNG_GENERATION_MB = 3;

export interface DnsThreadOptions extends WorkerData {
  readonly onFault: (error: unknown) => void;
  readonly onNoSigns: (message: string) => void;
  readonly onUpstreamFailure: (server: SocketAddress, message: string) => void;
  /** It ended though nobody ended it. */
  readonly onDeath: (error: Error) => void;
}

/** A worker thread, and calls of it. */
export class DnsThread implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  #calls = 0;
  #isEnding = false;
  #isDead = false;

  constructor({ onFault, onNoSigns, onUpstreamFailure, onDeath, ...workerData }: DnsThreadOptions) {
    this.#worker = new Worker(ENTRY, {
      workerData,
      name: 'dns',
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    let error = new Error('the DNS worker ended');
    this.#worker.on('error', cause => {
      error = new Error(`the DNS worker failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    });
    this.#worker.on('exit', () => {
      this.#isDead = true;
      for (const { reject } of this.#pending.values()) reject(error);
      this.#pending.clear();
      if (!this.#isEnding) onDeath(error);
    });
    this.#worker.on('message', (message: FromWorker) => {
      if (message.kind === 'upstream-failure') onUpstreamFailure(message.server, message.message);
      else if (message.kind === 'no-signs') onNoSigns(message.message);
      else if (message.kind === 'fault') onFault(errorOf(message));
      else this.#settle(message);
    });
  }

  get isAlive(): boolean {
    return !this.#isDead;
  }

  tell(notice: Notice): void {
    this.#post(notice);
  }

  /** Rejects when the worker ends, or couldn't. */
  call<K extends keyof WorkerCalls>(
    method: K,
    ...args: Parameters<WorkerCalls[K]>
  ): Promise<Awaited<ReturnType<WorkerCalls[K]>>> {
    if (this.#isDead) return Promise.reject(new Error('the DNS worker has ended'));
    const id = this.#calls;
    this.#calls += 1;
    const pending = Promise.withResolvers<unknown>();
    this.#pending.set(id, pending);
    try {
      this.#post({ kind: 'call', id, method, args });
    } catch (error) {
      // DataCloneError: not plain data.
      this.#pending.delete(id);
      pending.reject(error);
    }
    return pending.promise as Promise<Awaited<ReturnType<WorkerCalls[K]>>>;
  }

  /** What was asked is answered first. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isEnding) return;
    const late = new AbortController();
    await Promise.race([
      this.call('listen', []).catch(() => undefined), // dead already, or nothing to wait for
      delay(LAST_ANSWERS_MS, undefined, { signal: late.signal }).catch(() => undefined), // aborted: not needed
    ]);
    late.abort();
    this.#isEnding = true;
    await this.#worker.terminate();
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }

  #settle(message: Extract<FromWorker, { readonly id: number }>): void {
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (message.kind === 'result') pending?.resolve(message.value);
    else pending?.reject(new Error(message.message));
  }
}
