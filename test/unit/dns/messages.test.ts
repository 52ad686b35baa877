import { decode, encode as encodeByOracle, type Answer as OracleAnswer } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type DnsRecord, RCODE, TYPE } from '../../../src/dns/records.ts';
import { encodedAnswer, finish, Reply, refuse } from '../../../src/dns/reply.ts';
import { expandedData, expandedName, readMessage } from '../../../src/dns/wire/message.ts';
import { nameText, wireName } from '../../../src/dns/wire/names.ts';
import { lowerName, readQuery } from '../../../src/dns/wire/query.ts';
import { questionOf } from '../../../src/dns/wire/question.ts';

const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/);
const host = fc.array(label, { minLength: 1, maxLength: 4 }).map(labels => labels.join('.'));
const inZone = fc.array(label, { maxLength: 3 }).map(labels => [...labels, 'cluster.local'].join('.'));
const ip = fc.ipV4();
const ttl = fc.integer({ min: 0, max: 3600 });
const port = fc.integer({ min: 1, max: 65_535 });

const record: fc.Arbitrary<DnsRecord> = fc.oneof(
  fc.record({ name: inZone, ttl, type: fc.constant(TYPE.A), ip }),
  fc.record({ name: inZone, ttl, type: fc.constantFrom(TYPE.CNAME, TYPE.NS, TYPE.PTR), target: host }),
  fc.record({
    ...{ name: inZone, ttl, type: fc.constant(TYPE.SRV), priority: fc.constant(0), weight: fc.constant(7), port },
    target: inZone,
  }),
  fc.record({ name: inZone, ttl, type: fc.constant(TYPE.TXT), text: fc.stringMatching(/^[ -~]{0,20}$/) }),
);

/** As dns-packet says it. */
function asOracle(wanted: DnsRecord): Partial<OracleAnswer> {
  const { name, ttl: seconds } = wanted;
  if (!('target' in wanted)) {
    if ('ip' in wanted) return { name, ttl: seconds, type: 'A', data: wanted.ip };
    return 'text' in wanted ? { name, ttl: seconds, type: 'TXT' } : { name };
  }
  const { target } = wanted;
  if (wanted.type !== TYPE.SRV) {
    const type = ({ [TYPE.CNAME]: 'CNAME', [TYPE.NS]: 'NS', [TYPE.PTR]: 'PTR' } as const)[wanted.type];
    return { name, ttl: seconds, type, data: target };
  }
  const { priority, weight, port: at } = wanted;
  return { name, ttl: seconds, type: 'SRV', data: { priority, weight, port: at, target } };
}

function ask(name: string, { udpPayloadSize }: { readonly udpPayloadSize?: number } = {}): Buffer {
  const opt = { type: 'OPT', name: '.', udpPayloadSize: udpPayloadSize ?? 0, flags: 0, options: [] };
  const extra = udpPayloadSize === undefined ? {} : { additionals: [opt as never] };
  return encodeByOracle({ type: 'query', id: 4711, flags: 256, questions: [{ type: 'A', name }], ...extra });
}

/** A reply of these records to a question for `name`, as it goes out. */
function replied(name: string, answers: readonly DnsRecord[], limit: number, asked = ask(name)): Buffer {
  const query = readQuery(asked)!;
  const wire = wireName(name.toLowerCase());
  const answer = { rcode: RCODE.NOERROR, answers, authority: [], additional: [] };
  const reply = new Reply(encodedAnswer(wire, { type: TYPE.A, zone: 'cluster.local' }, answer), 0);
  return finish(asked, query, reply, { limit, serial: 0 });
}

describe('answers', () => {
  it('are what another decoder reads', () => {
    fc.assert(
      fc.property(inZone, fc.array(record, { maxLength: 8 }), (name, answers) => {
        const decoded = decode(replied(name, answers, 65_535));
        expect(decoded.id).toBe(4711);
        expect(decoded.questions?.[0]?.name).toBe(name);
        expect(decoded.answers).toMatchObject(answers.map(asOracle));
      }),
    );
  });

  it('are read again as they were written, names expanded', () => {
    fc.assert(
      fc.property(inZone, fc.array(record, { maxLength: 8 }), (name, answers) => {
        const bytes = replied(name, answers, 65_535);
        const message = readMessage(bytes)!;
        const names = message.records.map(({ at }) => nameText(expandedName(bytes, at)!));
        expect(names).toEqual(answers.map(each => each.name));
        for (const [i, each] of answers.entries()) {
          if (!('target' in each) || each.type === TYPE.SRV) continue;
          expect(nameText(expandedData(bytes, message.records[i]!)!)).toBe(each.target);
        }
      }),
    );
  });

  it('never exceed the limit, and say what they leave out', () => {
    fc.assert(
      fc.property(
        inZone,
        fc.array(record, { maxLength: 60 }),
        fc.integer({ min: 512, max: 2000 }),
        (name, answers, limit) => {
          const bytes = replied(name, answers, limit, ask(name, { udpPayloadSize: limit }));
          const decoded = decode(bytes);
          expect(bytes.length).toBeLessThanOrEqual(limit);
          expect(decoded.flag_tc).toBe((decoded.answers?.length ?? 0) < answers.length);
          expect(decoded.additionals).toHaveLength(1);
        },
      ),
    );
  });

  it('have the letters of the question, in its zone too, and those of the object elsewhere', () => {
    const target = 'web.default.svc.cluster.local';
    const srv = { name: 'a.cluster.local', ttl: 5, type: TYPE.SRV, priority: 0, weight: 1, port: 80, target } as const;
    const decoded = decode(replied('A.cLuStEr.LoCaL', [srv], 512));
    expect(decoded.questions?.[0]?.name).toBe('A.cLuStEr.LoCaL');
    expect(decoded.answers).toMatchObject([
      { name: 'A.cLuStEr.LoCaL', data: { target: 'web.default.svc.cLuStEr.LoCaL' } },
    ]);
  });
});

describe('questions', () => {
  it('are read as another encoder writes them', () => {
    fc.assert(
      fc.property(inZone, fc.option(fc.integer({ min: 512, max: 4096 }), { nil: undefined }), (name, size) => {
        const asked = ask(name.toUpperCase(), size === undefined ? {} : { udpPayloadSize: size });
        const query = readQuery(asked)!;
        expect(query).toMatchObject({ id: 4711, type: TYPE.A, refusal: undefined });
        expect(query.edns?.udpBytes).toBe(size);
        const lower = Buffer.alloc(255);
        expect(nameText(lower.subarray(0, lowerName(asked, query.nameEnd, lower)))).toBe(name);
      }),
    );
  });

  it('to others are what another decoder reads', () => {
    const asked = questionOf(wireName('example.com'), 64, { isDnssecOk: true, isCheckingDisabled: false });
    const decoded = decode(asked);
    expect(decoded).toMatchObject({ flag_rd: true, flag_cd: false, questions: [{ name: 'example.com' }] });
    expect(decoded.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232, flag_do: true }]);
  });

  it('that make no sense get an error or nothing, whatever the bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (bytes, isQuestion) => {
        const message = Buffer.from(bytes);
        if (isQuestion && message.length >= 6) message.writeUInt32BE(0x0100_0001, 2);
        const query = readQuery(message);
        readMessage(message);
        if (query === undefined) return;
        const answer = refuse(message, query, query.refusal ?? RCODE.REFUSED);
        expect(answer.readUInt16BE(0)).toBe(query.id);
        // Nobody gets more than he sent, but for OPT.
        expect(answer.length).toBeLessThanOrEqual(message.length + 11);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('names', () => {
  it('are the same after a way through text', () => {
    const anyLabel = fc.uint8Array({ minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(anyLabel, { maxLength: 5 }), labels => {
        const wire = Buffer.concat([
          ...labels.flatMap(each => [Buffer.of(each.length), Buffer.from(each)]),
          Buffer.of(0),
        ]);
        expect(wireName(nameText(wire))).toEqual(wire);
      }),
    );
  });
});
