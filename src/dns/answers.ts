/**
 * Answers about our zones. The bytes of an answer are kept for its question until something that it is about changes: nothing is kept by time, so no
 * answer is older than what is known of the cluster. Only names that exist are kept: others are as many as somebody likes to make up.
 */
import { KeptReplies, type KeptReply, type Subject } from './kept-replies.ts';
import { RCODE, type Rcode, TYPE } from './records.ts';
import { encodedAnswer, Reply } from './reply.ts';
import { labelsIn } from './wire/names.ts';
import { lowerName, type Query } from './wire/query.ts';
import type { Cluster } from './zone/cluster.ts';
import type { DnsService } from './zone/dns-service.ts';
import { endpointIPs } from './zone/dns-service.ts';
import { addressOfReverse } from './zone/reverse.ts';
import type { Found } from './zone/service-records.ts';
import { isReverse, type Zone, zoneOf } from './zone/zone.ts';

const KEPT = { ringBytes: 2 * 1024 * 1024, mostReplies: 16_384 };
/** Types that resolvers and libraries ask for by themselves, so that it's worth to keep that there is nothing. */
const USUAL_TYPES: ReadonlySet<number> = new Set([TYPE.A, TYPE.AAAA, TYPE.SRV, TYPE.HTTPS]);

/** A name that isn't there, or has nothing of that type: SOA and an rcode. */
export interface Nothing {
  readonly zone: Zone;
  readonly rcode: Rcode;
}

/** What somebody else has to find out: the name is in none of our zones, or in one whose misses are asked elsewhere, or a CNAME leads on. */
export interface Unanswered {
  readonly labels: readonly string[];
  readonly chase?: { readonly zone: Zone; readonly found: Found; readonly target: string };
}

export interface Elsewhere extends Unanswered {
  /** The question's name as bytes, lower case. */
  readonly wire: Buffer;
}

export interface AnswersOptions {
  readonly cluster: Cluster;
  readonly zones: readonly Zone[];
  /** Misses of zones that fall through go to others only where there are any. */
  readonly hasUpstreams: boolean;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

export class Answers {
  #options: AnswersOptions;
  readonly #kept = new KeptReplies(KEPT);
  readonly #question = Buffer.alloc(257);
  #rebuilt = 0;
  hits = 0;

  constructor(options: AnswersOptions) {
    this.#options = options;
  }

  get zones(): readonly Zone[] {
    return this.#options.zones;
  }

  get kept(): { readonly size: number; readonly evictions: number } {
    return this.#kept;
  }

  /** Other zones or options: nothing that was kept is right any more. */
  replace(options: Omit<AnswersOptions, 'now' | 'cluster'>): void {
    this.#options = { ...this.#options, ...options };
    this.#kept.clear();
  }

  answer(message: Buffer, { nameEnd, type }: Query): Reply | Nothing | Elsewhere {
    const length = lowerName(message, nameEnd, this.#question);
    const key = this.#keyOf(length, type);
    const kept = this.#kept.get(key);
    if (kept === undefined) return this.#find(key, length, type);
    this.hits += 1;
    return kept;
  }

  /** @param wire the question's name, lower case */
  keptFor(wire: Buffer, type: number): KeptReply | undefined {
    wire.copy(this.#question);
    return this.#kept.get(this.#keyOf(wire.length, type));
  }

  /** A Service was so, or is so from now on. @param service as the cluster has it */
  forget(service: DnsService): void {
    if (this.#kept.size === 0) return;
    this.#kept.forget(service);
    for (const ip of service.clusterIPs) this.#kept.forget(ip);
    for (const ip of endpointIPs(service)) this.#kept.forget(ip);
  }

  /** What a name's zone says of it, without anything kept. */
  find(labels: readonly string[], type: number): { zone: Zone; found: Found } | Nothing | Unanswered {
    const { zones, cluster, hasUpstreams } = this.#options;
    const zone = zoneOf(zones, labels);
    if (zone === undefined) return { labels };
    if (!cluster.isSynced) return { zone, rcode: RCODE.SERVFAIL };
    const found = zone.find(labels, type);
    if (found === undefined) {
      return zone.fallsThrough && hasUpstreams ? { labels } : { zone, rcode: RCODE.NXDOMAIN };
    }
    if (found.answers.length === 0 && !USUAL_TYPES.has(type)) return { zone, rcode: RCODE.NOERROR };
    const target = chaseOf(found, type);
    return target === undefined ? { zone, found } : { labels, chase: { zone, found, target } };
  }

  #keyOf(length: number, type: number): string {
    this.#question[length] = type >> 8;
    this.#question[length + 1] = type & 255;
    return this.#question.toString('latin1', 0, length + 2);
  }

  /** @param length of the name in `#question` */
  #find(key: string, length: number, type: number): Reply | Nothing | Elsewhere {
    const labels = labelsIn(key);
    const outcome = this.find(labels, type);
    if ('rcode' in outcome) return outcome;
    // What others are asked for outlives this question.
    const wire = Buffer.from(this.#question.subarray(0, length));
    if ('labels' in outcome) return { ...outcome, wire };
    const { zone, found } = outcome;
    const encoded = encodedAnswer(wire, { type, zone: zone.name }, zone.answer(found));
    this.#rebuilt += 1;
    const subject = this.#subjectOf(labels, zone);
    if (subject !== undefined) {
      this.#kept.keep(encoded, this.#rebuilt, { key, subject, nowMs: this.#options.now() });
    }
    return new Reply(encoded, this.#rebuilt - 1);
  }

  /** Whose change changes the answer; undefined where more can, or where there are as many names as somebody likes. */
  #subjectOf(labels: readonly string[], zone: Zone): Subject | undefined {
    if (isReverse(zone.name)) return addressOfReverse(labels);
    const last = labels.length - zone.labels.length - 1;
    const [kind, namespace = '', service = ''] = [labels[last], labels[last - 1], labels[last - 2]];
    return kind === 'svc' ? this.#options.cluster.service(namespace, service) : undefined;
  }
}

/** The name that a CNAME leads to, where the question wasn't for the CNAME itself. */
export function chaseOf({ answers }: Found, type: number): string | undefined {
  const [first] = answers;
  return first?.type === TYPE.CNAME && 'target' in first && type !== TYPE.CNAME ? first.target : undefined;
}
