/** ExternalName: a CNAME of ours, and what it leads to. The name's own end counts: its error, its SOA (CoreDNS loses both). */
import { type Answer, type DnsRecord, RCODE, type Rcode } from './records.ts';
import { expandedData, expandedName, type Message } from './wire/message.ts';
import { nameText } from './wire/names.ts';
import type { Zone } from './zone/zone.ts';

/** CNAMEs in our own zones, one after the other; more are a circle. */
const MOST_STEPS = 8;

export interface Chase {
  readonly answer: Answer;
  /** The name that somebody else has to be asked for. */
  readonly target?: string;
}

/** Follows CNAMEs as far as they stay in our zones. */
export function chaseWithin(
  first: Answer,
  target: string,
  type: number,
  zoneOf: (name: string) => Zone | undefined,
): Chase {
  let answer = first;
  let name = target;
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const zone = zoneOf(name);
    if (zone === undefined) return { answer, target: name };
    const { chase, ...next } = zone.lookup(name, type);
    answer = { ...next, answers: [...answer.answers, ...next.answers] };
    if (chase === undefined) return { answer };
    name = chase;
  }
  return { answer: { ...answer, rcode: RCODE.SERVFAIL } };
}

/** The chase's end as an upstream server told it. */
export function chased(
  { answers }: Answer,
  { bytes, message }: { readonly bytes: Buffer; readonly message: Message },
): Answer {
  const of = (wanted: string) =>
    message.records
      .filter(({ section }) => section === wanted)
      .flatMap(record => {
        const [name, raw] = [expandedName(bytes, record.at), expandedData(bytes, record)];
        if (name === undefined || raw === undefined) return [];
        return [{ name: nameText(name), ttl: record.ttl, type: record.type, raw } satisfies DnsRecord];
      });
  return {
    rcode: message.rcode as Rcode,
    answers: [...answers, ...of('answer')],
    authority: of('authority'),
    additional: [],
  };
}
