/**
 * Answers about our zones. The bytes of an answer are kept for its question until something that it is about changes: nothing is kept by time, so no
 * answer is older than what is known of the cluster.
 */
import type { Answer } from './records.ts';
import { type Reply, replyOf, zoneOf } from './reply.ts';
import { nameText } from './wire/names.ts';
import { lowerName, type Query } from './wire/query.ts';
import type { DnsService } from './zone/cluster.ts';
import { addressOfReverse } from './zone/reverse.ts';
import { isReverse, type Zone } from './zone/zone.ts';

/** Kept answers, of 200 to 500 bytes each; the oldest goes first. */
const MOST_KEPT = 16_384;
/** A name and a type. */
const scratch = Buffer.alloc(257);

/** What somebody else has to find out: the name is in none of our zones, or a CNAME leads on. */
export interface Elsewhere {
  readonly name: string;
  /** The same as bytes, lower case. */
  readonly wire: Buffer;
  readonly chase?: { readonly zone: Zone; readonly answer: Answer; readonly target: string };
}

export class Answers {
  readonly #zones: readonly Zone[];
  /** Before the cluster is known names of ours get SERVFAIL. */
  readonly #isKnown: () => boolean;
  readonly #kept = new Map<string, { readonly reply: Reply; readonly subject: string }>();
  /** Keys of kept answers by what they are about: a Service, or an address. */
  readonly #about = new Map<string, Set<string>>();

  constructor(zones: readonly Zone[], isKnown: () => boolean) {
    this.#zones = zones;
    this.#isKnown = isKnown;
  }

  /** The zone that a name is in, if it's ours. */
  zoneOf(name: string): Zone | undefined {
    return zoneOf(this.#zones, name);
  }

  answer(bytes: Buffer, { nameEnd, type }: Query): Reply | Elsewhere {
    const length = lowerName(bytes, nameEnd, scratch);
    scratch.writeUInt16BE(type, length);
    const key = scratch.toString('latin1', 0, length + 2);
    return this.#kept.get(key)?.reply ?? this.#find(key, Buffer.from(scratch.subarray(0, length)), type);
  }

  /** A Service was, or is, so. */
  forget({ namespace, name, clusterIPs, endpoints }: DnsService): void {
    this.#forgetAbout(`${namespace}/${name}`);
    for (const ip of clusterIPs) this.#forgetAbout(ip);
    for (const { ip } of endpoints) this.#forgetAbout(ip);
  }

  forgetAll(): void {
    this.#kept.clear();
    this.#about.clear();
  }

  #find(key: string, wire: Buffer, type: number): Reply | Elsewhere {
    const name = nameText(wire);
    const zone = zoneOf(this.#zones, name);
    if (zone === undefined) return { name, wire };
    const question = { type, zone: zone.name };
    if (!this.#isKnown()) return replyOf(wire, question, zone.unknown());
    const { chase: target, ...answer } = zone.lookup(name, type);
    if (target !== undefined) return { name, wire, chase: { zone, answer, target } };
    const reply = replyOf(wire, question, answer);
    this.#keep(key, subjectOf(name, zone), reply);
    return reply;
  }

  #keep(key: string, subject: string | undefined, reply: Reply): void {
    if (subject === undefined) return;
    if (this.#kept.size >= MOST_KEPT) this.#drop();
    this.#kept.set(key, { reply, subject });
    const keys = this.#about.get(subject);
    if (keys === undefined) this.#about.set(subject, new Set([key]));
    else keys.add(key);
  }

  /** The oldest. */
  #drop(): void {
    for (const [key, { subject }] of this.#kept) {
      this.#kept.delete(key);
      const keys = this.#about.get(subject);
      keys?.delete(key);
      if (keys?.size === 0) this.#about.delete(subject);
      return;
    }
  }

  #forgetAbout(subject: string): void {
    for (const key of this.#about.get(subject) ?? []) this.#kept.delete(key);
    this.#about.delete(subject);
  }
}

/** Whose change changes the answer; undefined where more can. A namespace's change changes all answers. */
function subjectOf(name: string, zone: Zone): string | undefined {
  if (isReverse(zone.name)) return addressOfReverse(name.split('.'));
  const labels = name.slice(0, -zone.name.length - 1).split('.');
  const [service, namespace, kind] = labels.slice(-3);
  return kind === 'svc' && namespace !== undefined ? `${namespace}/${service}` : undefined;
}
