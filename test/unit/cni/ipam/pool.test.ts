import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseRangeSets, type RangeSet } from '../../../../src/cni/config/ranges.ts';
import { AddressPool, COOL_DOWN_MS } from '../../../../src/cni/ipam/pool.ts';
import { CniError, CODE } from '../../../../src/cni/types.ts';

const setsOf = (...ranges: object[][]): readonly RangeSet[] =>
  parseRangeSets({ ipam: { ranges }, podCIDRs: undefined });

const newPool = () => new AddressPool<string>({ describe: holder => holder });

interface AddOptions {
  readonly requested?: readonly string[];
  readonly nowMs?: number;
}

function add(
  pool: AddressPool<string>,
  sets: readonly RangeSet[],
  { holder, requested = [], nowMs = 0 }: AddOptions & { holder: string },
): readonly string[] {
  pool.endRests(nowMs);
  const allocations = pool.allocate({ sets, requested });
  pool.take(allocations, holder);
  return allocations.map(({ ip }) => ip);
}

function refusal(step: () => unknown): { code: number; message: string } {
  try {
    step();
  } catch (error) {
    if (error instanceof CniError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('a pool of addresses', () => {
  test('I01 after ADD and DEL the next ADD gets the next address', () => {
    const pool = newPool();
    const sets = setsOf([{ subnet: '10.0.0.0/24' }]);
    expect(add(pool, sets, { holder: 'a' })).toEqual(['10.0.0.2']);
    pool.rest('10.0.0.2', 0);
    expect(add(pool, sets, { holder: 'b' })).toEqual(['10.0.0.3']);
    expect(pool.holderOf('10.0.0.3')).toBe('b');
  });

  test('I02 a /30 has one, the second ADD is told so, and the address of the first is given when that is gone', () => {
    const pool = newPool();
    const sets = setsOf([{ subnet: '10.0.0.0/30' }]);
    expect(add(pool, sets, { holder: 'a' })).toEqual(['10.0.0.2']);
    expect(pool.hasAddress(sets[0]!)).toBe(false);
    expect(refusal(() => add(pool, sets, { holder: 'b' }))).toEqual({
      code: CODE.noAddress,
      message: 'no IP addresses available in range set: 10.0.0.1-10.0.0.2',
    });
    pool.rest('10.0.0.2', 0);
    expect(pool.hasAddress(sets[0]!)).toBe(true);
    expect(add(pool, sets, { holder: 'b' })).toEqual(['10.0.0.2']);
  });

  test('I03 a requested address is given, a resting one too, and the search does not go on behind it', () => {
    const pool = newPool();
    const sets = setsOf([{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd00::/64' }]);
    expect(add(pool, sets, { holder: 'a', requested: ['fd00::ffff:0:0:1', '10.0.0.77'] })).toEqual([
      '10.0.0.77',
      'fd00::ffff:0:0:1',
    ]);
    pool.rest('10.0.0.77', 0);
    expect(add(pool, sets, { holder: 'b', requested: ['10.0.0.77'] })).toEqual(['10.0.0.77', 'fd00::2']);
    expect(add(pool, sets, { holder: 'c' })).toEqual(['10.0.0.2', 'fd00::3']);
  });

  test.each([
    ['10.0.0.9', 'is held by the one'],
    ['10.0.0.1', 'is the gateway of 10.0.0.0/24'],
    ['10.0.0.0', 'is the network address of 10.0.0.0/24'],
    ['10.0.0.255', 'is the broadcast address of 10.0.0.0/24'],
    ['10.0.0.200', 'is not in the range 10.0.0.1-10.0.0.100 of 10.0.0.0/24'],
    ['10.9.0.1', 'is not in any range: 10.0.0.1-10.0.0.100'],
    ['fd00::5', 'is not in any range'],
  ])('I04 requested %s %s: refused, and nothing is held', (ip, reason) => {
    const pool = newPool();
    pool.hold('10.0.0.9', 'the one');
    const sets = setsOf([{ subnet: '10.0.0.0/24', rangeEnd: '10.0.0.100' }]);
    const { code, message } = refusal(() => add(pool, sets, { holder: 'b', requested: [ip] }));
    expect(code).toBe(CODE.addressTaken);
    expect(message).toContain(`${ip} ${reason}`);
    expect(add(pool, sets, { holder: 'b' })).toEqual(['10.0.0.2']);
  });

  test('I04 two requested addresses of one set are one too many', () => {
    const sets = setsOf([{ subnet: '10.0.0.0/24' }]);
    const { message } = refusal(() => add(newPool(), sets, { holder: 'a', requested: ['10.0.0.5', '10.0.0.6'] }));
    expect(message).toContain('10.0.0.6 is a second one of the same range set');
  });

  test('I05 a gateway inside of the range is skipped; two ranges of a set roll over and wrap', () => {
    const pool = newPool();
    const sets = setsOf([
      { subnet: '10.0.0.0/24', rangeStart: '10.0.0.10', rangeEnd: '10.0.0.12', gateway: '10.0.0.11' },
      { subnet: '10.1.0.0/30' },
    ]);
    expect(['a', 'b', 'c'].flatMap(holder => add(pool, sets, { holder }))).toEqual([
      '10.0.0.10',
      '10.0.0.12',
      '10.1.0.2',
    ]);
    pool.free('10.0.0.10');
    expect(add(pool, sets, { holder: 'd' })).toEqual(['10.0.0.10']);
  });

  test('I06 where one set is exhausted nothing of the others is held', () => {
    const pool = newPool();
    const sets = setsOf([{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd00::/126', rangeEnd: 'fd00::2' }]);
    expect(add(pool, sets, { holder: 'a' })).toEqual(['10.0.0.2', 'fd00::2']);
    expect(refusal(() => add(pool, sets, { holder: 'b' })).code).toBe(CODE.noAddress);
    expect(pool.holderOf('10.0.0.3')).toBeUndefined();
    expect(add(pool, sets.slice(0, 1), { holder: 'b' })).toEqual(['10.0.0.3']);
  });

  test('I09 an address rests while others are free; of none free the longest-rested goes first', () => {
    const pool = newPool();
    const sets = setsOf([{ subnet: '10.0.0.0/29', rangeEnd: '10.0.0.4' }]);
    expect(['a', 'b', 'c'].flatMap(holder => add(pool, sets, { holder }))).toEqual([
      '10.0.0.2',
      '10.0.0.3',
      '10.0.0.4',
    ]);
    pool.rest('10.0.0.3', 1000);
    pool.rest('10.0.0.2', 2000);
    expect(add(pool, sets, { holder: 'd', nowMs: 2001 })).toEqual(['10.0.0.3']);
    expect(add(pool, sets, { holder: 'e', nowMs: 2001 })).toEqual(['10.0.0.2']);
  });

  test('I09 after the cool-down an address is as free as others', () => {
    const pool = newPool();
    const sets = setsOf([{ subnet: '10.0.0.0/29', rangeEnd: '10.0.0.3' }]);
    expect(add(pool, sets, { holder: 'a' })).toEqual(['10.0.0.2']);
    pool.rest('10.0.0.2', 0);
    expect(pool.endRests(COOL_DOWN_MS - 1)).toEqual([]);
    expect(pool.endRests(COOL_DOWN_MS)).toEqual(['10.0.0.2']);
    expect(pool.restingSince('10.0.0.2')).toBeUndefined();
    expect(add(pool, sets, { holder: 'b', nowMs: COOL_DOWN_MS })).toEqual(['10.0.0.3']);
  });

  test('F15 ranges that changed find what is held and resting; the gateway may change alone', () => {
    const pool = newPool();
    pool.hold('10.0.1.2', 'old pod');
    pool.rest('10.0.1.3', 0);
    expect(add(pool, setsOf([{ subnet: '10.0.1.0/24' }]), { holder: 'a' })).toEqual(['10.0.1.4']);
    expect(add(pool, setsOf([{ subnet: '10.0.1.0/24', gateway: '10.0.1.5' }]), { holder: 'b' })).toEqual(['10.0.1.6']);
    for (let other = 2; other < 100; other++) add(pool, setsOf([{ subnet: `10.0.${other}.0/24` }]), { holder: 'c' });
    expect(pool.last.size).toBeLessThanOrEqual(64);
    expect(add(pool, setsOf([{ subnet: '10.0.99.0/24' }]), { holder: 'd' })).toEqual(['10.0.99.3']);
  });

  test('no address is ever given twice, and an exhausted set really is', () => {
    const size = fc.constantFrom(3, 5, 9);
    const step = fc.record({ kind: fc.constantFrom('add', 'add', 'del', 'request', 'wait'), at: fc.nat(40) });
    fc.assert(
      fc.property(size, fc.array(step, { maxLength: 80 }), (usable, steps) => {
        const pool = newPool();
        const sets = setsOf([{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.2', rangeEnd: `10.0.0.${1 + usable}` }]);
        const held = new Map<string, string>();
        let nowMs = 0;
        for (const [index, { kind, at }] of steps.entries()) {
          nowMs += 1;
          const holder = `h${index}`;
          if (kind === 'wait') nowMs += at * 10_000;
          if (kind === 'del') {
            const ip = [...held.keys()][at];
            if (ip !== undefined) pool.rest(ip, nowMs);
            if (ip !== undefined) held.delete(ip);
          }
          if (kind !== 'add' && kind !== 'request') continue;
          const requested = kind === 'request' ? [`10.0.0.${2 + (at % usable)}`] : [];
          try {
            const [ip = ''] = add(pool, sets, { holder, requested, nowMs });
            expect(held.has(ip)).toBe(false);
            held.set(ip, holder);
          } catch (error) {
            expect(error).toBeInstanceOf(CniError);
            expect(kind === 'add' ? held.size === usable : held.has(requested[0] ?? '')).toBe(true);
          }
        }
        for (const [ip, holder] of held) expect(pool.holderOf(ip)).toBe(holder);
      }),
    );
  });

  test('I08 an allocation looks at as many words with ten thousand held as with none', () => {
    const pool = newPool();
    const sets = setsOf([{ subnet: '10.0.0.0/16', rangeEnd: '10.0.39.17' }]); // 10 000 and the gateway
    for (let i = 0; i < 10_000; i++) add(pool, sets, { holder: `h${i}` });
    expect(refusal(() => add(pool, sets, { holder: 'more' })).code).toBe(CODE.noAddress);
    const started = process.cpuUsage();
    for (let i = 0; i < 1000; i++) {
      pool.free('10.0.20.7');
      expect(pool.allocate({ sets, requested: [] })[0]?.ip).toBe('10.0.20.7');
      pool.hold('10.0.20.7', 'again');
    }
    // A scan of the range takes a hundred times as long.
    expect(process.cpuUsage(started).user / 1000).toBeLessThan(500);
  });
});
