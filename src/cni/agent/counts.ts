/** How many requests were answered how, and what they took: for `/metrics`. */
import type { AgentReply } from '../types.ts';

export class Counts {
  readonly #requests = new Map<string, number>();
  readonly #seconds = new Map<string, number>();

  async count(verb: string, work: () => Promise<AgentReply>): Promise<AgentReply> {
    const began = performance.now();
    const reply = await work();
    add(this.#seconds, verb, (performance.now() - began) / 1000);
    add(this.#requests, `${verb} ${reply.error?.code ?? 'ok'}`, 1);
    return reply;
  }

  get requests(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#requests);
  }

  get seconds(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#seconds);
  }
}

function add(to: Map<string, number>, key: string, amount: number): void {
  to.set(key, (to.get(key) ?? 0) + amount);
}
