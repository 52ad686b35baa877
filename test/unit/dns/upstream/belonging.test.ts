import { type Answer, decode, encode, type Packet } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { belonging } from '../../../../src/dns/upstream/belonging.ts';
import { readMessage } from '../../../../src/dns/wire/message.ts';

const NAME = 'www.example.com';
const A = (name: string, data = '192.0.2.1'): Answer => ({ name, type: 'A', ttl: 60, data });
const cname = (name: string, data: string): Answer => ({ name, type: 'CNAME', ttl: 60, data });
const soa = (name: string): Answer => {
  const data = { mname: 'ns', rname: 'host', serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 60 };
  return { name, type: 'SOA', ttl: 60, data };
};

function response(sections: Packet): Buffer {
  return encode({ type: 'response', id: 1, flags: 0x0180, questions: [{ name: NAME, type: 'A' }], ...sections });
}

function kept(sections: Packet, isDnssecOk = false) {
  const bytes = response(sections);
  const { answers, authorities, additionals, flag_tc } = decode(belonging(bytes, readMessage(bytes)!, isDnssecOk)!);
  const names = (records: readonly Answer[] = []) => records.map(({ name, type }) => `${name} ${type}`);
  return { answers: names(answers), authority: names(authorities), additional: names(additionals), flag_tc };
}

describe('an upstream answer', () => {
  it('keeps the chain from the question’s name, wherever its parts stand, in its order', () => {
    const answers = [A('b.test'), cname('a.test', 'b.test'), cname(NAME, 'a.test')];
    expect(kept({ answers }).answers).toEqual([`${NAME} CNAME`, 'a.test CNAME', 'b.test A']);
  });

  it.each([
    ['other names in the answer', { answers: [A('bank.test', '203.0.113.66'), A(NAME)] }],
    ['other names behind the answer', { answers: [A(NAME), A('bank.test', '203.0.113.66')] }],
    ['additional records', { answers: [A(NAME)], additionals: [A('bank.test', '203.0.113.66')] }],
    [
      'name servers',
      { answers: [A(NAME)], authorities: [{ name: 'com', type: 'NS', ttl: 60, data: 'ns.evil.test' } as const] },
    ],
    ['other types', { answers: [A(NAME), { name: NAME, type: 'TXT', ttl: 60, data: 'x' } as const] }],
    ['other classes', { answers: [A(NAME), { ...A(NAME, '203.0.113.66'), class: 'CH' } as Answer] }],
    ['SOA of other zones', { answers: [A(NAME)], authorities: [soa('bank.test')] }],
  ])('loses %s', (_what, sections) => {
    expect(kept(sections)).toEqual({ answers: [`${NAME} A`], authority: [], additional: [], flag_tc: false });
  });

  it.each([
    ['alone', { answers: [{ ...A(NAME), ttl: 0xffff_ffff }] }],
    ['behind another', { answers: [{ ...A(NAME), ttl: 0xffff_ffff }], additionals: [A('bank.test')] }],
    [
      'of an alias',
      {
        answers: [
          { ...A('a.test'), ttl: 0x8000_0000 },
          { ...cname(NAME, 'a.test'), ttl: 0x8000_0000 },
        ],
      },
    ],
  ])('has no time that is none (%s)', (_, sections) => {
    const bytes = response(sections as Packet);
    const { answers = [] } = decode(belonging(bytes, readMessage(bytes)!, false)!);
    expect(answers.map(answer => ('ttl' in answer ? answer.ttl : 'none'))).toEqual(sections.answers.map(() => 0));
  });

  it('loses an address that is none', () => {
    const bytes = response({
      answers: [{ name: NAME, type: 'UNKNOWN_1', ttl: 60, data: Buffer.alloc(2) } as never, A(NAME)],
    });
    // The type of an address, with two bytes.
    const at = readMessage(bytes)!.records[0]!;
    bytes.writeUInt16BE(1, at.ttlAt - 4);
    expect(decode(belonging(bytes, readMessage(bytes)!, false)!).answers).toMatchObject([{ data: '192.0.2.1' }]);
  });

  it('keeps SOA of a zone that the name is in, where there is nothing', () => {
    expect(kept({ authorities: [soa('example.com')] }).authority).toEqual(['example.com SOA']);
    expect(kept({ answers: [cname(NAME, 'a.test')], authorities: [soa('test')] }).authority).toEqual(['test SOA']);
    expect(kept({ answers: [cname(NAME, 'a.test')], authorities: [soa('example.com')] }).authority).toEqual([]);
  });

  it('keeps proofs for who asked for them, of that zone', () => {
    const nsec = (name: string): Answer => ({
      name,
      type: 'NSEC',
      ttl: 60,
      data: { nextDomain: 'x.test', rrtypes: ['A'] },
    });
    const authorities = [soa('example.com'), nsec('a.example.com'), nsec('a.test')];
    expect(kept({ authorities }, true).authority).toEqual(['example.com SOA', 'a.example.com NSEC']);
    expect(kept({ authorities }, false).authority).toEqual(['example.com SOA']);
  });

  const chainOf = (count: number) => {
    const names = [NAME, ...Array.from({ length: count }, (_, i) => `c${i}.test`)];
    return [...names.slice(1).map((target, i) => cname(names[i]!, target)), A(names.at(-1)!)];
  };

  it('keeps 32 CNAMEs and what they lead to', () => {
    expect(kept({ answers: chainOf(32) }).answers).toHaveLength(33);
  });

  it.each([
    ['lead in a circle', [cname(NAME, 'a.test'), cname('a.test', NAME), A('b.test')]],
    ['are more than 32', chainOf(33)],
  ])('is SERVFAIL, never that there is nothing, where CNAMEs %s', (_what, answers) => {
    const bytes = response({ answers });
    const packet = decode(belonging(bytes, readMessage(bytes)!, false)!);
    expect(packet).toMatchObject({ rcode: 'SERVFAIL', answers: [], authorities: [] });
  });

  it('is SERVFAIL where its error needs the OPT record, which goes', () => {
    const opt = {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 1232,
      extendedRcode: 1,
      ednsVersion: 0,
      flags: 0,
      options: [],
    };
    const bytes = response({ additionals: [opt as never] });
    expect(readMessage(bytes)?.rcode).toBe(16);
    expect(decode(belonging(bytes, readMessage(bytes)!, false)!)).toMatchObject({ rcode: 'SERVFAIL' });
  });

  it('never throws, and what is left can be read, whatever the bytes are', () => {
    const base = response({
      answers: [cname(NAME, 'a.test'), A('bank.test'), A('a.test')],
      authorities: [soa('test')],
    });
    const flips = fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { maxLength: 6 });
    fc.assert(
      fc.property(flips, fc.boolean(), (changes, isDnssecOk) => {
        const bytes = Buffer.from(base);
        for (const [at, value] of changes) bytes[at] = value;
        const message = readMessage(bytes);
        if (message === undefined) return;
        const left = belonging(bytes, message, isDnssecOk);
        if (left !== undefined) expect(readMessage(left)).toBeDefined();
      }),
      { numRuns: 2000 },
    );
  });
});
