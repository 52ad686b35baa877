/** What becomes of a question that makes sense: an answer from our zones, from what is kept, or from upstream servers. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Answers, Elsewhere } from './answers.ts';
import { chased, chaseWithin, type Path, pathInto } from './chase.ts';
import { type Answer, RCODE, TYPE } from './records.ts';
import { encodedAnswer, finish, Reply, refuse } from './reply.ts';
import { answerOf } from './upstream/belonging.ts';
import type { AnswerCache } from './upstream/cache.ts';
import { type Forwarder, isUsable, type Question, type UpstreamAnswer } from './upstream/forwarder.ts';
import { isLoopName, loopRecord } from './upstream/loop.ts';
import { relayed } from './upstream/relay.ts';
import { type Message, readMessage } from './wire/message.ts';
import { wireName } from './wire/names.ts';
import { negative } from './wire/negative.ts';
import { FLAG, PLAIN_UDP_BYTES, type Query } from './wire/query.ts';
import { questionOf } from './wire/question.ts';
import { MOST_BYTES } from './wire/response.ts';
import type { Cluster } from './zone/cluster.ts';
import { zoneOf } from './zone/zone.ts';

/** Larger answers go by TCP, whatever a client says that it takes: they would come in pieces. */
const MOST_UDP_BYTES = 4096;

/** RFC 8767 §5, the client response timer: who could have an answer whose time is over waits no longer for a better one. */
const STALE_AFTER_MS = 1800;

/** How often a chain of CNAMEs may lead from our zones to others'. */
const MOST_TIMES = 4;

type Late = Buffer | Promise<Buffer>;

export interface ResolverParts {
  readonly answers: Answers;
  readonly cache: AnswerCache;
  readonly forwarder: Forwarder;
  readonly cluster: Cluster;
  /** See upstream/loop.ts. */
  readonly instance: string;
}

/** How a question came. */
export interface Way {
  readonly isTcp: boolean;
  /** false: the client waits for so many answers of upstream servers already that this one gets what is kept, or SERVFAIL. */
  readonly mayAsk?: boolean;
}

/** A question, and how it is answered. */
interface Asked {
  readonly mayAsk: boolean;
  readonly message: Buffer;
  readonly query: Query;
  readonly limit: number;
}

/** What an answer is to. */
interface About {
  readonly wire: Buffer;
  readonly zone: string;
  readonly isAuthoritative: boolean;
}

interface Upstream {
  readonly bytes: Buffer;
  readonly message: Message;
}

export class Resolver {
  readonly #parts: ResolverParts;
  #turns = 0;

  constructor(parts: ResolverParts) {
    this.#parts = parts;
  }

  /** What `message` gets. May throw, and reject, for bugs only. @param query as it was read from the message */
  answer(message: Buffer, query: Query, { isTcp, mayAsk = true }: Way): Late {
    if (query.refusal !== undefined) return refuse(message, query, query.refusal);
    if (isTransfer(query.type)) return refuse(message, query, RCODE.REFUSED);
    const { answers, cluster } = this.#parts;
    const limit = isTcp ? MOST_BYTES : Math.min(MOST_UDP_BYTES, query.edns?.udpBytes ?? PLAIN_UDP_BYTES);
    const found = answers.answer(message, query);
    if (found instanceof Reply) return finish(message, query, found, { limit, serial: cluster.changedAt });
    if ('rcode' in found) {
      return negative(message, query, found.zone.negativeSoa, { rcode: found.rcode, serial: cluster.changedAt });
    }
    return this.#elsewhere({ message, query, limit, mayAsk }, found);
  }

  #elsewhere(asked: Asked, { labels, wire, chase }: Elsewhere): Late {
    const { message, query } = asked;
    if (chase !== undefined) return this.#chase(asked, wire, chase);
    const { forwarder, instance } = this.#parts;
    if (isLoopName(labels, instance)) {
      const answer = { rcode: RCODE.NOERROR, answers: [loopRecord(instance)], authority: [], additional: [] };
      return this.#finish(asked, new Reply(encodedAnswer(wire, { type: query.type, zone: '' }, answer), 0));
    }
    if (forwarder.servers.length === 0) return refuse(message, query, RCODE.REFUSED);
    return this.#ask(asked, wire, upstream => {
      if (upstream === undefined) return refuse(message, query, RCODE.SERVFAIL);
      const own = this.#ownEnd(labels.join('.'), query.type, upstream);
      if (own !== undefined) return this.#follow(asked, { wire, zone: '', isAuthoritative: false }, own, 1);
      this.#turns += 1;
      return this.#finish(asked, relayed(query, upstream, this.#turns));
    });
  }

  #chase(asked: Asked, wire: Buffer, { zone, found, target }: NonNullable<Elsewhere['chase']>): Late {
    const about = { wire, zone: zone.name, isAuthoritative: true };
    return this.#follow(asked, about, { answer: zone.answer(found), target }, 0);
  }

  /** Goes on at `target`, in our zones and with upstream servers, as often as it leads from one to the other. */
  #follow(asked: Asked, { wire, ...about }: About, { answer, target }: Path, times: number): Late {
    const { answers, forwarder } = this.#parts;
    const { type } = asked.query;
    const hasUpstreams = forwarder.servers.length > 0;
    const chase = chaseWithin({ zones: answers.zones, hasUpstreams }, answer, { target, type });
    this.#turns += 1;
    const from = this.#turns;
    const reply = (end: Answer, isTruncated = false) =>
      this.#finish(asked, new Reply(encodedAnswer(wire, { type, ...about, isTruncated }, end), from));
    // RFC 1034 §4.3.2: who can ask nobody answers with what he has.
    if (!chase.isElsewhere || !hasUpstreams) return reply(chase.answer);
    const last = chase.names.at(-1) ?? target;
    return this.#ask(asked, wireName(last), upstream => {
      if (upstream === undefined || times > MOST_TIMES) return reply({ ...chase.answer, rcode: RCODE.SERVFAIL });
      const own = this.#ownEnd(last, type, upstream);
      if (own !== undefined) {
        const path = { answer: chased(chase.answer, own.answer), target: own.target };
        return this.#follow(asked, { wire, ...about }, path, times + 1);
      }
      const { bytes, message } = upstream;
      const end = answerOf(bytes, message, message.records);
      const isGood = end.rcode === RCODE.NOERROR || end.rcode === RCODE.NXDOMAIN;
      return reply(chased(chase.answer, isGood ? end : { ...end, rcode: RCODE.SERVFAIL }), message.isTruncated);
    });
  }

  /** Where CNAMEs of an upstream server lead into a zone of ours: nobody else says what is there. */
  #ownEnd(name: string, type: number, { bytes, message }: Upstream): Path | undefined {
    const { answers: ours } = this.#parts;
    const end = answerOf(bytes, message, message.records);
    return pathInto(end, name, target => {
      const labels = target.split('.');
      const zone = zoneOf(ours.zones, labels);
      return zone !== undefined && !(zone.fallsThrough && zone.find(labels, type) === undefined);
    });
  }

  #finish({ message, query, limit }: Asked, reply: Reply): Buffer {
    return finish(message, query, reply, { limit, serial: this.#parts.cluster.changedAt });
  }

  /** `use` gets what upstream servers say of the name; undefined = nothing. */
  #ask({ query, mayAsk }: Asked, name: Buffer, use: (upstream: Upstream | undefined) => Late): Late {
    const { cache, forwarder } = this.#parts;
    const question = upstreamQuestion(name, query);
    const kept = cache.get(question.key);
    if (kept !== undefined) return use(readUpstream(kept.bytes));
    if (!mayAsk) {
      forwarder.rejected += 1;
      const known = cache.getStale(question.key);
      return use(known === undefined ? undefined : readUpstream(known));
    }
    const asked = forwarder.ask(question);
    const stale = cache.hasJustFailed(question.key) ? cache.getStale(question.key) : undefined;
    if (stale !== undefined) return use(readUpstream(stale));
    // Others who asked the same get the same bytes, and each changes his.
    return this.#bytesOf(asked, question.key).then(bytes =>
      use(bytes === undefined ? undefined : readUpstream(Buffer.from(bytes))),
    );
  }

  async #bytesOf(asked: Promise<UpstreamAnswer | undefined>, key: string): Promise<Buffer | undefined> {
    const { cache } = this.#parts;
    const fresh = asked.then(answer => {
      if (answer !== undefined && isUsable(answer)) return answer.bytes;
      cache.noteFailure(key);
      return cache.getStale(key) ?? answer?.bytes;
    });
    if (!cache.hasStale(key)) return fresh;
    const patience = new AbortController();
    const stale = delay(STALE_AFTER_MS, undefined, { signal: patience.signal, ref: false });
    try {
      return await Promise.race([fresh, stale.then(() => cache.getStale(key) ?? fresh)]);
    } finally {
      patience.abort();
    }
  }
}

/** Of a whole zone (RFC 5936, RFC 1995): nobody gets that. */
export function isTransfer(type: number): boolean {
  return type === TYPE.AXFR || type === TYPE.IXFR;
}

function readUpstream(bytes: Buffer): Upstream | undefined {
  const message = readMessage(bytes);
  return message === undefined ? undefined : { bytes, message };
}

/** @param name lower case */
export function upstreamQuestion(
  name: Buffer,
  { type, flags, edns }: Pick<Query, 'type' | 'flags' | 'edns'>,
): Question {
  const isDnssecOk = edns?.isDnssecOk ?? false;
  const isCheckingDisabled = (flags & FLAG.checkingDisabled) !== 0;
  const key = `${name.toString('latin1')} ${type} ${isDnssecOk ? 1 : 0}${isCheckingDisabled ? 1 : 0}`;
  return { key, bytes: questionOf(name, type, { isDnssecOk, isCheckingDisabled }), isDnssecOk };
}
