/** Questions about other names: to the upstream servers, one after the other, in a time in which a client still waits. */
import { RCODE } from '../records.ts';
import { readMessage } from '../wire/message.ts';
import { exchange, type Server } from './exchange.ts';

/** A resolver's own patience is 5 s (resolv.conf(5)). */
const ALL_MS = 4500;
const EACH_MS = 1500;

export interface ForwarderOptions {
  /** In the order in which they are asked. */
  readonly servers: readonly Server[];
  /** Questions under way; more are turned away at once. */
  readonly maxConcurrent: number;
  /** A server had no answer that can be used. */
  readonly onFailure: (server: Server, error: unknown) => void;
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  /** By question: who asks the same waits for the same answer. */
  readonly #pending = new Map<string, Promise<Buffer | undefined>>();

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  /** The answer of the first server that has one; undefined = none had, or too many are asked already. @param key what makes questions the same */
  ask(key: string, query: Buffer): Promise<Buffer | undefined> {
    const known = this.#pending.get(key);
    if (known !== undefined) return known;
    if (this.#pending.size >= this.#options.maxConcurrent) return Promise.resolve(undefined);
    const asked = this.#askAll(query).finally(() => this.#pending.delete(key));
    this.#pending.set(key, asked);
    return asked;
  }

  async #askAll(query: Buffer): Promise<Buffer | undefined> {
    const { servers, onFailure } = this.#options;
    const all = AbortSignal.timeout(ALL_MS);
    let refusal: Buffer | undefined;
    for (let attempt = 0; attempt < 2 * servers.length && !all.aborted; attempt += 1) {
      const server = servers[attempt % servers.length]!;
      try {
        const answer = await exchange(query, server, AbortSignal.any([all, AbortSignal.timeout(EACH_MS)]));
        const rcode = readMessage(answer)?.rcode;
        if (rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN) return answer;
        refusal ??= answer;
      } catch (error) {
        onFailure(server, error);
      }
      if (refusal !== undefined && attempt >= servers.length - 1) break;
    }
    return refusal;
  }
}
