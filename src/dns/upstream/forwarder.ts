/** Questions about other names: to the upstream servers in their order, in a time in which a client still waits. */
import { RCODE } from '../records.ts';
import type { UpstreamServer } from '../settings.ts';
import { belonging } from './belonging.ts';
import { exchangeWithServer } from './edns.ts';
import { ExchangeError, type ServerAnswer } from './exchange.ts';
import { askInTurn } from './in-turn.ts';
import { isLoopAnswer, loopQuestion } from './loop.ts';
import { ServerState } from './server-state.ts';

/** A resolver's own patience is 5 s (resolv.conf(5)); where every server failed the last time, less is likely to be enough. */
const MOST_MS = 4500;
const MOST_FAILING_MS = 2000;
/** A server that takes longer isn't waited for alone. */
const HEDGE_MS = 600;
/** A datagram may be lost: until a server is asked again. */
const REPEAT_MS = 1500;
/** How many sockets a question may take, where there are no more servers than that. */
const LEAST_TURNS = 3;

export interface ForwarderOptions {
  /** In the order in which they are asked. */
  readonly servers: readonly UpstreamServer[];
  /** Questions under way; more are turned away at once. */
  readonly maxConcurrent: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** See loop.ts. */
  readonly instance: string;
  /** What a question was answered with, once however many wait for it; not what servers say that aren't asked any more. */
  readonly onAnswer: (key: string, bytes: Buffer) => void;
  /** A server has had no answer that can be used for several questions, or turns out to be ourselves. */
  readonly onFailure: (server: UpstreamServer, error: Error) => void;
}

/** What makes questions the same, and the question itself. */
export interface Question {
  readonly key: string;
  readonly bytes: Buffer;
  readonly isDnssecOk: boolean;
}

export interface UpstreamAnswer {
  /** Nothing but what belongs to the question. */
  readonly bytes: Buffer;
  readonly rcode: number;
  readonly server: UpstreamServer;
  readonly ms: number;
}

export class Forwarder {
  #options: ForwarderOptions;
  #servers: readonly ServerState[];
  /** Who asks the same of the same servers waits for the same answer: other servers, another map. */
  #pending = new Map<string, Promise<UpstreamAnswer | undefined>>();
  #underWay = 0;
  /** Questions that were turned away. */
  rejected = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#servers = options.servers.map(server => new ServerState(server));
  }

  get servers(): readonly ServerState[] {
    return this.#servers;
  }

  /** No server has answered for a while. */
  get isDown(): boolean {
    return this.#servers.every(({ isDown, isLoop }) => isDown || isLoop);
  }

  get pending(): number {
    return this.#underWay;
  }

  /**
   * What is known of servers that stay is kept. Returns whether the servers are others, or in another order: what was asked before is then answered to those who
   * wait for it, and to nobody else.
   */
  configure({ servers, maxConcurrent }: Pick<ForwarderOptions, 'servers' | 'maxConcurrent'>): boolean {
    this.#options = { ...this.#options, servers, maxConcurrent };
    const before = this.#servers.map(state => keyOf(state.server));
    const known = new Map(this.#servers.map(state => [keyOf(state.server), state]));
    this.#servers = servers.map(server => known.get(keyOf(server)) ?? new ServerState(server));
    const isOther = before.join() !== servers.map(keyOf).join();
    if (isOther) this.#pending = new Map();
    return isOther;
  }

  /** The first good answer, or the first that says why there is none; undefined = no server had one, or too many are asked already. Never rejects. */
  ask(question: Question): Promise<UpstreamAnswer | undefined> {
    const pending = this.#pending;
    const known = pending.get(question.key);
    if (known !== undefined) return known;
    if (this.#underWay >= this.#options.maxConcurrent) {
      this.rejected += 1;
      return Promise.resolve(undefined);
    }
    this.#underWay += 1;
    const asked = this.#askServers(question).then(answer => {
      this.#underWay -= 1;
      pending.delete(question.key);
      if (answer !== undefined && pending === this.#pending) this.#options.onAnswer(question.key, answer.bytes);
      return answer;
    });
    pending.set(question.key, asked);
    return asked;
  }

  #askServers(question: Question): Promise<UpstreamAnswer | undefined> {
    const nowMs = this.#options.now();
    for (const state of this.#servers) if (state.takesProbe(nowMs)) void this.#probe(state);
    const usable = this.#servers.filter(({ isLoop }) => !isLoop);
    const healthy = usable.filter(({ isFailing }) => !isFailing);
    const failing = usable.filter(({ isFailing }) => isFailing);
    if (healthy.length > 0) this.#retry(failing, question, nowMs);
    const order = [...healthy, ...failing];
    return askInTurn({
      subjects: order.length === 0 ? [] : turnsOf(order),
      ask: (state, signal, onCut) => this.#askOne(state, question, { signal, onCut }),
      isGood: isUsable,
      hedgeMs: HEDGE_MS,
      repeatMs: REPEAT_MS,
      mostMs: this.isDown ? MOST_FAILING_MS : MOST_MS,
    });
  }

  async #askOne(
    state: ServerState,
    question: Question,
    { signal, onCut }: { readonly signal: AbortSignal; readonly onCut?: (answer: UpstreamAnswer) => void },
  ): Promise<UpstreamAnswer | undefined> {
    const { now } = this.#options;
    const startedAtMs = now();
    const answerOf = ({ bytes, message }: ServerAnswer): UpstreamAnswer | undefined => {
      const own = belonging(bytes, message, question.isDnssecOk);
      return own && { bytes: own, rcode: own[3]! & 15, server: state.server, ms: now() - startedAtMs };
    };
    state.requests += 1;
    state.inFlight += 1;
    try {
      const said = await exchangeWithServer(question.bytes, state, {
        ...{ now, signal },
        onCut: cut => {
          const answer = answerOf(cut);
          if (answer !== undefined) onCut?.(answer);
        },
      });
      const answer = answerOf(said);
      if (answer === undefined) throw new ExchangeError(`${state.server.address}: an answer that can't be read`);
      state.answered(said.message.rcode, answer.ms);
      return answer;
    } catch (error) {
      // It answered the same question, asked again; or another one did before this one had much time.
      const isWanted = !signal.aborted || (signal.reason !== state && now() - startedAtMs >= HEDGE_MS);
      if (isWanted) this.#failed(state, error);
      return undefined;
    } finally {
      state.inFlight -= 1;
    }
  }

  #failed(state: ServerState, error: unknown): void {
    const wasDown = state.isDown;
    state.failed(this.#options.now(), error instanceof ExchangeError && error.isRefusal);
    if (state.isDown && !wasDown)
      this.#options.onFailure(state.server, error instanceof Error ? error : new ExchangeError(String(error)));
  }

  /** Whether servers that failed are back is found out beside the questions of clients, by the same. */
  #retry(failing: readonly ServerState[], question: Question, nowMs: number): void {
    for (const state of failing) {
      if (state.takesRetry(nowMs)) void this.#askOne(state, question, { signal: AbortSignal.timeout(MOST_FAILING_MS) });
    }
  }

  async #probe(state: ServerState): Promise<void> {
    const { instance, now, onFailure } = this.#options;
    try {
      const signal = AbortSignal.timeout(MOST_FAILING_MS);
      const { bytes, message } = await exchangeWithServer(loopQuestion(instance), state, { now, signal });
      const wasLoop = state.isLoop;
      state.isLoop = isLoopAnswer(bytes, message, instance);
      if (state.isLoop && !wasLoop) onFailure(state.server, new ExchangeError(`${state.server.address} asks us`));
    } catch (error) {
      // Whether it answers is seen by what clients ask: some servers say nothing to names that they don't like.
      state.isLoop = false;
      if (!(error instanceof ExchangeError)) this.#failed(state, error);
    }
  }
}

/** An answer, rather than a failure of the server. */
export function isUsable({ rcode }: UpstreamAnswer): boolean {
  return rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN;
}

/** All of them, and where they are few from the beginning again. */
function turnsOf(order: readonly ServerState[]): readonly ServerState[] {
  return Array.from({ length: Math.max(LEAST_TURNS, order.length) }, (_, i) => order[i % order.length]!);
}

function keyOf({ address, port }: UpstreamServer): string {
  return `${address} ${port}`;
}
