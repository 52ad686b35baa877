import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  attributeList,
  attributesIn,
  hostWord,
  MessageWriter,
  messagesIn,
  readHostWord,
} from '../../../src/netfilter/attributes.ts';
import { type Expression, readExpressions, writeExpressions } from '../../../src/netfilter/expressions.ts';
import { commentOf, readElements, readSet } from '../../../src/netfilter/message-reading.ts';
import {
  BatchWriter,
  cutComment,
  type Element,
  NFT,
  SET,
  type SetSpec,
  TYPE,
} from '../../../src/netfilter/messages.ts';

const register = fc.integer({ min: 0, max: 15 });
const word = fc.integer({ min: 1, max: 2 ** 32 - 1 });
const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,30}$/);
const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map(list => Buffer.from(list));
const expression: fc.Arbitrary<Expression> = fc.oneof(
  fc.record({ name: fc.constant('payload'), dreg: register, base: word, offset: word, len: word }),
  fc.record({ name: fc.constant('ct'), dreg: register, key: word, direction: fc.integer({ min: 0, max: 255 }) }),
  fc.record({ name: fc.constant('cmp'), sreg: register, op: fc.constantFrom(0, 1), data: bytes(4) }),
  fc.record({ name: fc.constant('lookup'), set: name, sreg: register, dreg: fc.constantFrom(-1, 0, 7) }),
  fc.record({ name: fc.constant('numgen'), dreg: register, modulus: word, type: word, offset: word }),
  fc.record({ name: fc.constant('dynset'), set: name, op: word, sregKey: register, timeout: fc.bigInt(1n, 2n ** 63n) }),
  fc.record({
    name: fc.constant('immediate'),
    dreg: fc.constant(-1),
    data: fc.record({ kind: fc.constant('goto'), chain: name }),
  }),
  fc.record({ name: fc.constant('immediate'), dreg: fc.constant(-1), data: fc.record({ kind: fc.constant('drop') }) }),
) as fc.Arbitrary<Expression>;

function written(write: (batch: BatchWriter) => void) {
  const out = new MessageWriter(16);
  write(new BatchWriter(out, { family: 2, table: 'kproxy-ts', sequence: 6 }));
  return [...messagesIn(out.bytes())];
}

describe('expressions', () => {
  it('are read as they were written', () => {
    fc.assert(
      fc.property(fc.array(expression), list => {
        const out = new MessageWriter(8);
        writeExpressions(out, 4, list);
        const [[type, payload]] = [...attributeList(out.bytes())] as [[number, Buffer]];
        expect(type).toBe(4);
        expect(readExpressions(payload)).toEqual(list);
      }),
    );
  });

  it('reads a register by the older number that the kernel prints', () => {
    const out = new MessageWriter();
    const list = out.nest(4);
    const element = out.nest(1);
    out.text(1, 'meta');
    const data = out.nest(2);
    out.u32(1, 2); // NFT_REG_2: the four registers from the fifth on
    out.u32(2, 16);
    out.close(data);
    out.close(element);
    out.close(list);
    const [[, payload]] = [...attributeList(out.bytes())] as [[number, Buffer]];
    expect(readExpressions(payload)).toEqual([{ name: 'meta', dreg: 4, key: 16 }]);
  });

  it('refuses one that is not ours', () => {
    const out = new MessageWriter();
    const element = out.nest(1);
    out.text(1, 'quota');
    out.close(element);
    expect(() => readExpressions(out.bytes())).toThrow('quota');
  });
});

describe('messages', () => {
  it('have their lengths, flags and sequence numbers', () => {
    const [begin, table, end] = written(batch => {
      batch.beginBatch();
      batch.newTable('what it is');
      batch.endBatch();
    });
    expect([begin?.type, begin?.sequence, begin?.resource]).toEqual([0x10, 7, 10]);
    expect([table?.type, table?.sequence, table?.family]).toEqual([NFT.newTable, 8, 2]);
    expect(commentOf(attributesIn(table!.payload).get(6))).toBe('what it is');
    expect([end?.type, end?.sequence]).toEqual([0x11, 9]);
  });

  it('read a set as it was written', () => {
    const [ipv4, port, mark] = [
      { type: TYPE.ipv4, bytes: 4 },
      { type: TYPE.port, bytes: 2 },
      { type: TYPE.mark, bytes: 4 },
    ];
    const specs: SetSpec[] = [
      { name: 'plain', flags: 0, key: [ipv4] },
      { name: 'verdicts', flags: 0, key: [ipv4, port], value: 'verdict', comment: 'default/web' },
      { name: 'ranges', flags: SET.interval | SET.concatenation, key: [ipv4, port] },
      { name: 'values', flags: SET.timeout, key: [ipv4, mark], value: [ipv4, port], size: 65_535 },
    ];
    const messages = written(batch => {
      for (const spec of specs) batch.newSet(spec, 1);
    });
    expect(messages.map(readSet)).toEqual(specs);
  });

  it('read elements as they were written, as many as fit', () => {
    const elements: Element[] = Array.from({ length: 500 }, (_, i) => ({
      key: Buffer.concat([hostWord(i), hostWord(0)]),
      data: i % 2 === 0 ? hostWord(i) : { kind: 'goto', chain: `lb-${i}` },
      ...(i % 3 === 0 ? { comment: `default/web-${i}` } : {}),
    }));
    const [message] = written(batch => {
      const list = batch.beginElements(NFT.newElement, 'services');
      for (const element of elements) batch.element(element);
      batch.endElements(list);
    });
    expect(readElements(message!)).toEqual({ set: 'services', elements });
  });

  it('cannot have a list of more than 64 kB', () => {
    expect(() =>
      written(batch => {
        const list = batch.beginElements(NFT.newElement, 'services');
        for (let i = 0; i < 5000; i++) batch.element({ key: hostWord(i) });
        batch.endElements(list);
      }),
    ).toThrow(RangeError);
  });

  it('are refused when they end in the middle', () => {
    const [message] = written(batch => batch.newTable());
    expect(() => [...messagesIn(message!.bytes.subarray(0, -4))]).toThrow(RangeError);
  });

  it('cut a comment where nft would refuse it', () => {
    expect(cutComment('x'.repeat(127))).toHaveLength(127);
    expect(cutComment('x'.repeat(128))).toBe(`${'x'.repeat(124)}...`);
  });

  it('keep numbers of registers in the machine’s order', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), value => readHostWord(hostWord(value)) === value));
  });
});
