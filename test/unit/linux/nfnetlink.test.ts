import { endianness } from 'node:os';
import { describe, expect, it } from 'vitest';
import { parseGeneration } from '../../../src/linux/nfnetlink.ts';

const isLittle = endianness() === 'LE';

/** A netlink message as the kernel lays it out: nlmsghdr, then the payload. */
function message(type: number, payload: readonly number[]): Buffer {
  const buffer = Buffer.alloc(16 + payload.length);
  buffer[isLittle ? 0 : 3] = buffer.length;
  buffer[isLittle ? 4 : 5] = type & 255;
  buffer[isLittle ? 5 : 4] = type >> 8;
  Buffer.from(payload).copy(buffer, 16);
  return buffer;
}

const attribute = (type: number, value: readonly number[]) => {
  const header = [4 + value.length, 0, type, 0];
  const swapped = isLittle ? header : [0, 4 + value.length, 0, type];
  return [...swapped, ...value, ...Array.from({ length: -value.length & 3 }, () => 0)];
};
const nfgenmsg = [0, 0, 0, 0];

describe('parseGeneration', () => {
  it('finds the generation among the attributes', () => {
    const name = attribute(3, [...Buffer.from('node\0')]);
    const answer = message(0x0a0f, [
      ...nfgenmsg,
      ...name,
      ...attribute(1, [0, 1, 2, 3]),
      ...attribute(2, [0, 0, 9, 9]),
    ]);
    expect(parseGeneration(answer)).toBe(0x010203);
  });

  it("passes on the kernel's refusal", () => {
    const minusOne = [255, 255, 255, 255];
    expect(() => parseGeneration(message(2, [...minusOne, ...nfgenmsg]))).toThrow(
      expect.objectContaining({ name: 'NetlinkError', errno: 1, op: 'NFT_MSG_GETGEN' }),
    );
  });

  it.each([
    ['nothing', []],
    ['only a header', nfgenmsg],
    ['an attribute of no length', [...nfgenmsg, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['an attribute that is cut', [...nfgenmsg, ...attribute(1, [0, 0, 0, 1]).slice(0, 5)]],
  ])('refuses an answer with %s', (_, payload) => {
    expect(() => parseGeneration(message(0x0a0f, payload))).toThrow('an answer without a generation');
  });
});
