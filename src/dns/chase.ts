/** ExternalName: a CNAME of ours, and what it leads to. The name's own end counts: its error, its SOA (CoreDNS loses both). Pure. */
import { chaseOf } from './answers.ts';
import { type Answer, type DnsRecord, RCODE, TYPE } from './records.ts';
import { type Zone, zoneOf } from './zone/zone.ts';

/** CNAMEs in our own zones, one after the other; CoreDNS follows 10. */
const MOST_STEPS = 16;

export interface Chase {
  readonly answer: Answer;
  /** The names that it went over, the last one as well. */
  readonly names: readonly string[];
  /** Whether the last name has to be asked of somebody else. */
  readonly isElsewhere: boolean;
}

/** Follows CNAMEs as far as they stay in our zones. */
export function chaseWithin(
  { zones, hasUpstreams }: { readonly zones: readonly Zone[]; readonly hasUpstreams: boolean },
  first: Answer,
  { target, type }: { readonly target: string; readonly type: number },
): Chase {
  const names = [target];
  let answer = first;
  for (let name = target; names.length <= MOST_STEPS; names.push(name)) {
    // A circle, whoever's its CNAMEs are.
    if (isAlias(answer, name)) break;
    const labels = name.split('.');
    const zone = zoneOf(zones, labels);
    if (zone === undefined) return { answer, names, isElsewhere: true };
    // What isn't known yet may exist.
    if (!zone.isKnown) break;
    const found = zone.find(labels, type);
    if (found === undefined && zone.fallsThrough && hasUpstreams) return { answer, names, isElsewhere: true };
    const further = found === undefined ? undefined : chaseOf(found, type);
    const next = zone.answer(found);
    answer = { ...next, answers: [...answer.answers, ...next.answers] };
    if (further === undefined) return { answer, names, isElsewhere: false };
    name = further;
  }
  return { answer: { ...answer, rcode: RCODE.SERVFAIL, authority: [] }, names, isElsewhere: false };
}

/** Whether the answer says already where the name leads. */
function isAlias({ answers }: Answer, name: string): boolean {
  return answers.some(record => record.type === TYPE.CNAME && record.name.toLowerCase() === name);
}

/** With what somebody else says of the last name. */
export function chased({ answers }: Answer, end: Answer): Answer {
  return { ...end, answers: [...answers, ...end.answers] };
}

/** What is known on the way to a name, and that name. */
export interface Path {
  readonly answer: Answer;
  readonly target: string;
}

/** The CNAMEs of an answer from `name` on, up to the first one that leads to a name that `isOurs`; undefined = none does. */
export function pathInto({ answers }: Answer, name: string, isOurs: (name: string) => boolean): Path | undefined {
  const way: DnsRecord[] = [];
  for (let at = name; way.length < answers.length; ) {
    const next = answers.find(record => record.type === TYPE.CNAME && record.name.toLowerCase() === at);
    if (next === undefined || !('target' in next)) return undefined;
    way.push(next);
    at = next.target.toLowerCase();
    if (isOurs(at))
      return { answer: { rcode: RCODE.NOERROR, answers: way, authority: [], additional: [] }, target: at };
  }
  return undefined;
}
