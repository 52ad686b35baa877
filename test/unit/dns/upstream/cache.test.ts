import { type Answer, decode, encode } from 'dns-packet';
import { beforeEach, describe, expect, it } from 'vitest';
import { AnswerCache } from '../../../../src/dns/upstream/cache.ts';

let nowMs = 0;
let cache: AnswerCache;
beforeEach(() => {
  nowMs = 5000;
  cache = new AnswerCache({ maxBytes: 10_000, now: () => nowMs });
});

const A = (ttl: number, data = '192.0.2.1'): Answer => ({ name: 'a.test', type: 'A', ttl, data });
const soa = (ttl: number, minimum: number): Answer => {
  const data = { mname: 'ns', rname: 'host', serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  return { name: 'test', type: 'SOA', ttl, data };
};

function message(
  answers: readonly Answer[],
  { rcode = 0, authorities = [] as Answer[], isTruncated = false } = {},
): Buffer {
  const flags = 0x0180 | rcode | (isTruncated ? 0x0200 : 0);
  const questions = [{ name: 'a.test', type: 'A' as const }];
  return encode({ type: 'response', id: 1, flags, questions, answers: [...answers], authorities });
}

const ttls = (key = 'k') => {
  const cached = cache.get(key);
  return cached === undefined
    ? undefined
    : decode(cached.bytes).answers?.map(record => (record as { ttl?: number }).ttl);
};

describe('the cache', () => {
  it('keeps an answer as long as its shortest record lives, and says what is left', () => {
    cache.set('k', message([A(10), A(30, '192.0.2.2')]));
    expect(ttls()).toEqual([10, 30]);
    nowMs += 9999;
    expect(ttls()).toEqual([1, 21]);
    nowMs += 1;
    expect(ttls()).toBeUndefined();
    expect([cache.hits, cache.misses]).toEqual([2, 1]);
  });

  it.each([
    ['NXDOMAIN as long as SOA says', message([], { rcode: 3, authorities: [soa(600, 20)] }), 20],
    ['NODATA as long as SOA lives', message([], { authorities: [soa(15, 600)] }), 15],
    [
      'NODATA at the end of a CNAME not longer than that',
      message([{ name: 'a.test', type: 'CNAME', ttl: 7, data: 'b.test' }], { authorities: [soa(60, 60)] }),
      7,
    ],
    ['a day at most', message([A(1_000_000)]), 86_400],
    ['three hours of nothing for an hour', message([], { rcode: 3, authorities: [soa(10_800, 10_800)] }), 3600],
    ['SERVFAIL for 2 s', message([], { rcode: 2 }), 2],
  ])('keeps %s', (_what, bytes, seconds) => {
    cache.set('k', bytes);
    nowMs += seconds * 1000 - 1;
    expect(cache.peek('k')).toBeDefined();
    nowMs += 1;
    expect(cache.peek('k')).toBeUndefined();
  });

  it.each([
    ['TTL 0', message([A(0)])],
    ['a TTL that is negative', message([A(0xffff_ffff)])],
    ['NXDOMAIN without SOA', message([], { rcode: 3 })],
    ['what was cut', message([A(60)], { isTruncated: true })],
    ['REFUSED', message([], { rcode: 5 })],
    ['noise', Buffer.from('noise')],
  ])('keeps no %s', (_what, bytes) => {
    cache.set('k', bytes);
    expect([cache.peek('k'), cache.size]).toEqual([undefined, 0]);
  });

  it('never takes a failure for an answer', () => {
    cache.set('k', message([A(10)]));
    cache.set('k', message([], { rcode: 2 }));
    expect(ttls()).toEqual([10]);
  });

  it('has what is over for an hour where nobody knows better, and says that it is old', () => {
    cache.set('k', message([A(60)]));
    nowMs += 60_000 + 3_599_999;
    expect(cache.get('k')).toBeUndefined();
    expect(decode(cache.getStale('k')!).answers).toMatchObject([{ ttl: 30 }]);
    nowMs += 1;
    expect(cache.getStale('k')).toBeUndefined();
  });

  it('is bounded by bytes, and forgets what was not asked for', () => {
    for (let i = 0; i < 1000; i += 1) {
      cache.set(`k${i}`, message([A(60)]));
      cache.get('k0');
    }
    expect(cache.bytes).toBeLessThanOrEqual(10_000);
    expect(cache.evictions).toBe(1000 - cache.size);
    expect([cache.peek('k0') !== undefined, cache.peek('k1')]).toEqual([true, undefined]);
    cache.resize(1000);
    expect(cache.bytes).toBeLessThanOrEqual(1000);
    cache.clear();
    expect([cache.size, cache.bytes]).toEqual([0, 0]);
  });
});
