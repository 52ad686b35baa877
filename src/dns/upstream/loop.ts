/**
 * Finding out that an upstream server asks us: a question that only we know the answer to. CoreDNS ends the process when it comes back; here the server
 * isn't asked any more, and cluster names go on. Pure.
 */
import { RCODE, TYPE } from '../records.ts';
import type { Message, RawRecord } from '../wire/message.ts';
import { wireName } from '../wire/names.ts';
import { questionOf } from '../wire/question.ts';

/** No name of the internet ends so (and none of RFC 6761, which resolvers answer by themselves). */
const SUFFIX = ['loop', 'kproxy-ts'];
const ANSWER_TTL = 0;

/** @param instance letters and digits that all workers of a process share, and no other process has */
export function loopQuestion(instance: string): Buffer {
  const name = wireName([instance, ...SUFFIX].join('.'));
  return questionOf(name, TYPE.TXT, { isDnssecOk: false, isCheckingDisabled: false });
}

export function isLoopName(labels: readonly string[], instance: string): boolean {
  return labels.length === 3 && labels[0] === instance && labels[1] === SUFFIX[0] && labels[2] === SUFFIX[1];
}

/** What we say when we are asked: nobody else says it. */
export function loopRecord(instance: string) {
  return { name: [instance, ...SUFFIX].join('.'), ttl: ANSWER_TTL, type: TYPE.TXT, text: instance } as const;
}

export function isLoopAnswer(bytes: Buffer, { rcode, records }: Message, instance: string): boolean {
  const isOurs = ({ section, type, dataAt, end }: RawRecord) =>
    section === 'answer' && type === TYPE.TXT && bytes.toString('latin1', dataAt + 1, end) === instance;
  return rcode === RCODE.NOERROR && records.some(isOurs);
}
