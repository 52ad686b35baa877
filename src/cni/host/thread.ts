import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Logger } from '../../log.ts';
import type { AgentCalls, AgentData, FromAgent, HeldPorts, ToAgent } from '../agent/messages.ts';
import type { AgentSettings } from '../agent/parts.ts';

/** Beside this module as it is in the sources, beside the program in the bundle. */
const ENTRY = new URL(import.meta.url.endsWith('.ts') ? '../agent/main.ts' : '../cni-agent.mjs', import.meta.url);
/** An agent that hangs is waited for no longer when it is to stop: an ADD takes milliseconds, the kernel's slowest answers a few seconds. */
const LAST_ANSWERS_MS = 10_000;
const YOUNG_GENERATION_MB = 4;

export interface AgentThreadOptions extends AgentData {
  readonly log: Logger;
  /** It ended though nobody ended it. */
  readonly onDeath: (error: Error) => void;
  /** An attachment's hostPorts changed. */
  readonly onPorts?: (ports: HeldPorts) => void;
}

/** The agent's thread, and calls of it. */
export class AgentThread implements AsyncDisposable {
  /** Resolves when it serves. Rejects with why it can't. */
  readonly started: Promise<void>;
  readonly #worker: Worker;
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #exited = Promise.withResolvers<void>();
  #calls = 0;
  #isEnding = false;
  #isDead = false;

  constructor({ log, onDeath, onPorts, ...workerData }: AgentThreadOptions) {
    const start = Promise.withResolvers<void>();
    this.started = start.promise;
    start.promise.catch(() => undefined); // whoever waits for it hears of it
    this.#worker = new Worker(ENTRY, {
      workerData,
      name: 'cni',
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    let error = new Error('the thread that wires pods ended');
    this.#worker.on('error', cause => {
      error = new Error(
        `the thread that wires pods failed: ${cause instanceof Error ? cause.message : String(cause)}`,
        {
          cause,
        },
      );
    });
    this.#worker.on('exit', () => {
      this.#isDead = true;
      this.#exited.resolve();
      start.reject(error);
      for (const { reject } of this.#pending.values()) reject(error);
      this.#pending.clear();
      if (!this.#isEnding) onDeath(error);
    });
    this.#worker.on('message', (message: FromAgent) => {
      if (message.kind === 'started') start.resolve();
      else if (message.kind === 'failed') start.reject(new Error(message.message));
      else if (message.kind === 'ports') onPorts?.(message.ports);
      else if (message.kind === 'log') log[message.level](message.fields, message.message);
      else this.#settle(message);
    });
  }

  tell(settings: AgentSettings): void {
    this.#post({ kind: 'settings', settings });
  }

  /** Rejects when the agent ends, or couldn't. */
  call<K extends keyof AgentCalls>(
    method: K,
    ...args: Parameters<AgentCalls[K]>
  ): Promise<Awaited<ReturnType<AgentCalls[K]>>> {
    if (this.#isDead) return Promise.reject(new Error('the thread that wires pods has ended'));
    const id = this.#calls;
    this.#calls += 1;
    const pending = Promise.withResolvers<unknown>();
    this.#pending.set(id, pending);
    this.#post({ kind: 'call', id, method, args });
    return pending.promise as Promise<Awaited<ReturnType<AgentCalls[K]>>>;
  }

  /** What was asked is answered first. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    const late = new AbortController();
    const hasStopped = this.call('stop').then(
      () => this.#exited.promise,
      () => undefined, // dead already, or it never served
    );
    await Promise.race([
      hasStopped,
      delay(LAST_ANSWERS_MS, undefined, { signal: late.signal }).catch(() => undefined), // aborted: not needed
    ]);
    late.abort();
    await this.#worker.terminate();
  }

  #post(message: ToAgent): void {
    this.#worker.postMessage(message);
  }

  #settle(message: Extract<FromAgent, { readonly id: number }>): void {
    const pending = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    if (message.kind === 'result') pending?.resolve(message.value);
    else pending?.reject(new Error(message.message));
  }
}
