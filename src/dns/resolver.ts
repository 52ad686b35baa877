/** What becomes of a message that a client sent. Never throws or rejects. */
import type { Answers, Elsewhere } from './answers.ts';
import { chased, chaseWithin } from './chase.ts';
import { type Answer, RCODE, TYPE } from './records.ts';
import { finish, refuse, replyOf } from './reply.ts';
import type { AnswerCache } from './upstream/cache.ts';
import type { Forwarder } from './upstream/forwarder.ts';
import { relay } from './upstream/relay.ts';
import { readMessage } from './wire/message.ts';
import { wireName } from './wire/names.ts';
import { FLAG, PLAIN_UDP_BYTES, type Query, readQuery } from './wire/query.ts';
import { questionOf } from './wire/question.ts';
import { MOST_BYTES } from './wire/response.ts';

/** Larger answers go by TCP, whatever a client says that it takes: they would come in pieces. */
const MOST_UDP_BYTES = 4096;

type Late = Buffer | Promise<Buffer | undefined>;

export interface ResolverParts {
  readonly answers: Answers;
  readonly cache: AnswerCache;
  readonly forwarder: Forwarder;
  readonly isAllowed: (address: string) => boolean;
}

export class Resolver {
  readonly #parts: ResolverParts;

  constructor(parts: ResolverParts) {
    this.#parts = parts;
  }

  respond(message: Buffer, address: string, isTcp: boolean): Buffer | Promise<Buffer | undefined> | undefined {
    const query = readQuery(message);
    if (query === undefined) return undefined;
    if (query.refusal !== undefined) return refuse(message, query, query.refusal);
    const isTransfer = query.type === TYPE.AXFR || query.type === TYPE.IXFR;
    if (isTransfer || !this.#parts.isAllowed(address)) return refuse(message, query, RCODE.REFUSED);
    const limit = isTcp ? MOST_BYTES : Math.min(MOST_UDP_BYTES, query.edns?.udpBytes ?? PLAIN_UDP_BYTES);
    const found = this.#parts.answers.answer(message, query);
    return 'encoded' in found ? finish(message, query, found, limit) : this.#elsewhere(message, query, found, limit);
  }

  #elsewhere(message: Buffer, query: Query, { wire, chase }: Elsewhere, limit: number): Late {
    if (chase === undefined) {
      const use = (bytes: Buffer | undefined) => relayed(message, query, bytes, limit);
      return this.#ask(wire, query, use);
    }
    const { zone, answer, target } = chase;
    const found = chaseWithin(answer, target, query.type, name => this.#parts.answers.zoneOf(name));
    const reply = (end: Answer) =>
      finish(message, query, replyOf(wire, { type: query.type, zone: zone.name }, end), limit);
    if (found.target === undefined) return reply(found.answer);
    return this.#ask(wireName(found.target), query, bytes => {
      const end = bytes === undefined ? undefined : readMessage(bytes);
      if (bytes === undefined || end === undefined) return reply({ ...found.answer, rcode: RCODE.SERVFAIL });
      return reply(chased(found.answer, { bytes, message: end }));
    });
  }

  /** `use` gets what upstream servers say of the name; undefined = nothing. */
  #ask(name: Buffer, { type, flags, edns }: Query, use: (answer: Buffer | undefined) => Buffer): Late {
    const { cache, forwarder } = this.#parts;
    const options = {
      isDnssecOk: edns?.isDnssecOk ?? false,
      isCheckingDisabled: (flags & FLAG.checkingDisabled) !== 0,
    };
    const key = `${name.toString('latin1').toLowerCase()} ${type} ${options.isDnssecOk} ${options.isCheckingDisabled}`;
    const kept = cache.get(key);
    if (kept !== undefined) return use(kept);
    return forwarder.ask(key, questionOf(name, type, options)).then(answer => {
      if (answer !== undefined) cache.set(key, answer);
      return use(answer);
    });
  }
}

function relayed(question: Buffer, query: Query, bytes: Buffer | undefined, limit: number): Buffer {
  const message = bytes === undefined ? undefined : readMessage(bytes);
  if (bytes === undefined || message === undefined) return refuse(question, query, RCODE.SERVFAIL);
  return relay(question, query, { bytes, message }, limit);
}
