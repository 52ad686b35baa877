import { type Answer, encode } from 'dns-packet';
import { describe, expect, it } from 'vitest';
import { isNamedType, rcodeName, typeName, typeNumber } from '../../../../src/dns/types.ts';
import { readMessage } from '../../../../src/dns/wire/message.ts';
import { presented } from '../../../../src/dns/wire/presentation.ts';

const soa = { mname: 'ns.a.test', rname: 'host.a.test', serial: 7, refresh: 1, retry: 2, expire: 3, minimum: 4 };

describe('records as people write them', () => {
  it.each([
    ['A', '192.0.2.1', '192.0.2.1'],
    ['AAAA', '2001:db8::1', '2001:db8::1'],
    ['CNAME', 'b.test', 'b.test.'],
    ['PTR', 'b.test', 'b.test.'],
    ['MX', { preference: 10, exchange: 'mx.test' }, '10 mx.test.'],
    ['SRV', { priority: 1, weight: 2, port: 3, target: 'b.test' }, '1 2 3 b.test.'],
    ['SOA', soa, 'ns.a.test. host.a.test. 7 1 2 3 4'],
    ['TXT', ['say "hi"', 'a\\b'], '"say \\034hi\\034" "a\\092b"'],
    ['HINFO', { cpu: 'RFC8482', os: '' }, '"RFC8482" ""'],
    ['CAA', { flags: 0, tag: 'issue', value: 'ca.test' }, '\\# 14 0005697373756563612e74657374'],
    ['NULL', Buffer.alloc(0), '\\# 0'],
  ] as const)('%s', (type, data, text) => {
    const answers = [{ name: 'a.test', ttl: 60, type, data } as unknown as Answer];
    const questions = [{ name: 'a.test', type: 'A' as const }];
    const bytes = encode({ type: 'response', id: 1, flags: 0, questions, answers });
    expect(presented(bytes, readMessage(bytes)!)).toMatchObject([
      { section: 'answer', name: 'a.test.', ttl: 60, data: text },
    ]);
  });

  it('that are too short for their type are shown as bytes', () => {
    const bytes = encode({
      type: 'response',
      questions: [{ name: 'a.test', type: 'A' }],
      answers: [{ name: 'a.test', ttl: 60, type: 'NULL', data: Buffer.from('x') } as Answer],
    });
    // The type of the record: behind its name, which is written out.
    const at = bytes.length - 1 - 10;
    for (const type of [1, 2, 5, 6, 12, 15, 28, 33]) {
      bytes.writeUInt16BE(type, at);
      const message = readMessage(bytes)!;
      const shown = presented(bytes, message).map(({ data }) => data);
      // What should hold a name, and holds none, is left out.
      expect([[], ['\\# 1 78']]).toContainEqual(shown);
    }
  });
});

describe('names of types', () => {
  it('lead to their numbers and back', () => {
    for (let type = 0; type < 300; type += 1) expect(typeNumber(typeName(type))).toBe(type);
    expect([typeNumber('aaaa'), typeNumber('type65535'), typeNumber('TYPE65536'), typeNumber('nope')]).toEqual([
      28,
      65_535,
      undefined,
      undefined,
    ]);
    expect([isNamedType(64), isNamedType(9999), rcodeName(3), rcodeName(16), rcodeName(23)]).toEqual([
      true,
      false,
      'NXDOMAIN',
      'BADVERS',
      'RCODE23',
    ]);
  });
});
