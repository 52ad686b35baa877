/** Why a question is answered as it is: the same answer as a client gets, and what it was made of. */
import type { Answers, Unanswered } from './answers.ts';
import { chaseWithin } from './chase.ts';
import { RCODE } from './records.ts';
import { isTransfer, type Resolver, upstreamQuestion } from './resolver.ts';
import { rcodeName, typeName } from './types.ts';
import type { AnswerCache } from './upstream/cache.ts';
import { type Forwarder, isUsable } from './upstream/forwarder.ts';
import { readMessage } from './wire/message.ts';
import { labelsIn, wireName } from './wire/names.ts';
import { type PresentedRecord, presented } from './wire/presentation.ts';
import { readQuery } from './wire/query.ts';
import { questionOf } from './wire/question.ts';
import type { Cluster } from './zone/cluster.ts';
import { type DnsService, endpointCount } from './zone/dns-service.ts';
import { addressOfReverse } from './zone/reverse.ts';
import { isReverse, type PodNames, type Zone, zoneOf } from './zone/zone.ts';

export type ExplainStep =
  /** The name is in a zone of ours; before the cluster is known nothing can be said of it. */
  | { readonly kind: 'zone'; readonly zone: string; readonly isSynced: boolean }
  | { readonly kind: 'outside'; readonly name: string }
  | { readonly kind: 'namespace'; readonly namespace: string; readonly exists: boolean }
  | { readonly kind: 'no-service'; readonly namespace: string; readonly name: string }
  | {
      readonly kind: 'service';
      readonly namespace: string;
      readonly name: string;
      readonly serviceKind: DnsService['kind'];
      readonly clusterIPs: readonly string[];
      readonly externalName: string;
      /** Addresses of ready ones, of both families, or published though they aren't ready. */
      readonly endpoints: number;
      /** Its name doesn't exist for want of endpoints. */
      readonly isHidden: boolean;
    }
  | { readonly kind: 'no-address'; readonly ip: string }
  | { readonly kind: 'pods'; readonly pods: PodNames }
  /** Of the zone; the name may have other records. */
  | { readonly kind: 'nothing'; readonly type: string; readonly hasName: boolean }
  | { readonly kind: 'transfer' }
  | { readonly kind: 'kept'; readonly ageMs: number }
  | { readonly kind: 'cname'; readonly target: string }
  /** The zone has no such name, and others are asked. */
  | { readonly kind: 'fallthrough'; readonly zone: string }
  | { readonly kind: 'cache'; readonly name: string; readonly ageMs: number }
  | {
      readonly kind: 'upstream';
      readonly name: string;
      readonly server: string;
      readonly ms: number;
      readonly rcode: string;
    }
  /** No server has an answer, and what was known before is given. */
  | { readonly kind: 'stale'; readonly name: string }
  /** Every server leads back here. */
  | { readonly kind: 'loop'; readonly name: string; readonly servers: number }
  /** No server had an answer, or there is none to ask. */
  | { readonly kind: 'no-upstream'; readonly name: string; readonly servers: number };

export interface Explanation {
  readonly name: string;
  readonly type: string;
  readonly rcode: string;
  readonly records: readonly PresentedRecord[];
  readonly steps: readonly ExplainStep[];
}

export interface ExplainParts {
  readonly cluster: Cluster;
  readonly answers: Answers;
  readonly resolver: Resolver;
  readonly cache: AnswerCache;
  readonly forwarder: Forwarder;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** @param name with or without the closing dot, in any case. @throws RangeError for what is no name */
export async function explain(parts: ExplainParts, name: string, type: number): Promise<Explanation> {
  const lower = name.replace(/\.$/, '').toLowerCase();
  const wire = wireName(lower);
  const message = questionOf(wire, type, { isDnssecOk: false, isCheckingDisabled: false });
  const query = readQuery(message);
  if (query === undefined) throw new TypeError('a question of our own that cannot be read');
  // What is kept is looked for before the answer is made, which keeps it.
  const path = new Path(parts, labelsIn(wire.toString('latin1')), type);
  const own = path.steps(wire);
  const [answer, last] = await Promise.all([
    parts.resolver.answer(message, query, { isTcp: true }),
    path.upstreamStep(),
  ]);
  const read = readMessage(answer);
  const records = read === undefined ? [] : presented(answer, read);
  return {
    name: `${lower}.`,
    type: typeName(type),
    rcode: rcodeName(read?.rcode ?? -1),
    records,
    steps: last === undefined ? own : [...own, last, ...path.stepsBack(records)],
  };
}

/** The way that a question takes. */
class Path {
  readonly #parts: ExplainParts;
  readonly #labels: readonly string[];
  readonly #type: number;
  /** The name that upstream servers are asked for, if it comes to that. */
  #asked: string | undefined;

  constructor(parts: ExplainParts, labels: readonly string[], type: number) {
    this.#parts = parts;
    this.#labels = labels;
    this.#type = type;
  }

  steps(wire: Buffer): readonly ExplainStep[] {
    const { answers, now } = this.#parts;
    if (isTransfer(this.#type)) return [{ kind: 'transfer' }];
    const kept = answers.keptFor(wire, this.#type);
    const outcome = answers.find(this.#labels, this.#type);
    const steps = this.#placeSteps(this.#labels);
    if (kept !== undefined) steps.push({ kind: 'kept', ageMs: now() - kept.keptAtMs });
    if ('labels' in outcome) return [...steps, ...this.#elsewhere(outcome)];
    const hasNothing = 'rcode' in outcome ? outcome.rcode !== RCODE.SERVFAIL : outcome.found.answers.length === 0;
    const hasName = !('rcode' in outcome) || outcome.rcode === RCODE.NOERROR;
    if (hasNothing && !isReason(steps.at(-1))) steps.push({ kind: 'nothing', type: typeName(this.#type), hasName });
    return steps;
  }

  /** To be called when the question is on its way: who asks the same waits for the same answer. */
  async upstreamStep(): Promise<ExplainStep | undefined> {
    const name = this.#asked;
    if (name === undefined) return undefined;
    const { cache, forwarder } = this.#parts;
    const servers = forwarder.servers.length;
    if (servers === 0) return { kind: 'no-upstream', name, servers };
    const question = upstreamQuestion(wireName(name), { type: this.#type, flags: 0, edns: undefined });
    const cached = cache.peek(question.key);
    if (cached !== undefined) return { kind: 'cache', name, ageMs: cached.ageMs };
    if (forwarder.servers.every(({ isLoop }) => isLoop)) return { kind: 'loop', name, servers };
    const answer = await forwarder.ask(question);
    if ((answer === undefined || !isUsable(answer)) && cache.hasStale(question.key)) return { kind: 'stale', name };
    if (answer === undefined) return { kind: 'no-upstream', name, servers };
    const { server, ms, rcode } = answer;
    return { kind: 'upstream', name, server: serverText(server), ms, rcode: rcodeName(rcode) };
  }

  /** Where an upstream server's aliases lead into our zones: its part of the answer is asked for by then. */
  stepsBack(records: readonly PresentedRecord[]): readonly ExplainStep[] {
    const { answers } = this.#parts;
    const from = records.findIndex(({ name }) => name.toLowerCase() === `${this.#asked}.`);
    return records.slice(from).flatMap(({ section, type, data }) => {
      const labels = data.replace(/\.$/, '').toLowerCase().split('.');
      const isBack = from !== -1 && section === 'answer' && type === 'CNAME' && zoneOf(answers.zones, labels);
      return isBack ? [{ kind: 'cname', target: labels.join('.') } as const, ...this.#placeSteps(labels)] : [];
    });
  }

  #elsewhere({ chase }: Unanswered): readonly ExplainStep[] {
    const { answers, forwarder } = this.#parts;
    const zone = zoneOf(answers.zones, this.#labels);
    if (chase === undefined) {
      this.#asked = this.#labels.join('.');
      return zone === undefined ? [] : [{ kind: 'fallthrough', zone: zone.name }];
    }
    const { found, target } = chase;
    const hasUpstreams = forwarder.servers.length > 0;
    const way = { zones: answers.zones, hasUpstreams };
    const { names, isElsewhere } = chaseWithin(way, chase.zone.answer(found), { target, type: this.#type });
    if (isElsewhere) this.#asked = names.at(-1);
    return names.flatMap(name => [{ kind: 'cname', target: name } as const, ...this.#placeSteps(name.split('.'))]);
  }

  #placeSteps(labels: readonly string[]): ExplainStep[] {
    const { answers, cluster } = this.#parts;
    const zone = zoneOf(answers.zones, labels);
    if (zone === undefined) return [{ kind: 'outside', name: labels.join('.') }];
    const first = { kind: 'zone', zone: zone.name, isSynced: cluster.isSynced } as const;
    if (!cluster.isSynced) return [first];
    return [
      first,
      ...(isReverse(zone.name) ? reverseSteps(zone, labels, cluster) : forwardSteps(zone, labels, cluster)),
    ];
  }
}

/** Whether a step alone says why there is nothing. */
function isReason(step: ExplainStep | undefined): boolean {
  switch (step?.kind) {
    case 'namespace':
      return !step.exists;
    case 'service':
      return step.isHidden;
    case 'no-service':
    case 'no-address':
      return true;
    default:
      return false;
  }
}

function forwardSteps(zone: Zone, labels: readonly string[], cluster: Cluster): readonly ExplainStep[] {
  const last = labels.length - zone.labels.length - 1;
  const [kind, namespace, name] = [labels[last], labels[last - 1], labels[last - 2]];
  if ((kind !== 'svc' && kind !== 'pod') || namespace === undefined) return [];
  const exists = cluster.hasNamespace(namespace);
  const first = { kind: 'namespace', namespace, exists } as const;
  if (!exists || name === undefined) return [first];
  if (kind === 'pod') return [first, { kind: 'pods', pods: zone.pods }];
  const service = cluster.service(namespace, name);
  return [first, service === undefined ? { kind: 'no-service', namespace, name } : serviceStep(zone, service)];
}

function reverseSteps(zone: Zone, labels: readonly string[], cluster: Cluster): readonly ExplainStep[] {
  const ip = addressOfReverse(labels);
  if (ip === undefined) return [];
  const at = cluster.servicesAt(ip).slice(0, 1);
  const services = at.length > 0 ? at : cluster.servicesBehind(ip);
  return services.length === 0 ? [{ kind: 'no-address', ip }] : services.map(service => serviceStep(zone, service));
}

function serviceStep(zone: Zone, service: DnsService): ExplainStep {
  const { namespace, name, kind: serviceKind, clusterIPs, externalName } = service;
  const more = { endpoints: endpointCount(service), isHidden: zone.isHidden(service) };
  return { kind: 'service', namespace, name, serviceKind, clusterIPs, externalName, ...more };
}

/** `192.0.2.1:53`, `[2001:db8::1]:53`. */
export function serverText({ address, port }: { readonly address: string; readonly port: number }): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
