/** Questions, with some bytes of them changed. */
import { asking } from './engine-lab.ts';

export type Random = (below: number) => number;

/** A number generator whose run can be repeated (mulberry32). */
export function randomFrom(seed: number): Random {
  let state = seed;
  return below => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const NAMES = ['web', 'db', 'out', '_http._tcp.db', 'pod-7.db', 'nope'].map(
  name => `${name}.default.svc.cluster.local`,
);
const TYPES = ['A', 'AAAA', 'SRV', 'PTR', 'ANY', 'TXT', 'SOA'];
const SEEDS = [...NAMES, '7.9.244.10.in-addr.arpa', 'cluster.local', '.'].flatMap(name =>
  TYPES.flatMap(type => [asking(name, type), asking(name, type, { edns: { udpSize: 4096, do: true } })]),
);
/** Bytes that mean something: pointers, lengths, the edges of counts. */
const TELLING = [0, 1, 0x0c, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff];

export function mutated(random: Random): Buffer {
  const bytes = Buffer.from(SEEDS[random(SEEDS.length)]!);
  for (let count = random(6); count > 0; count -= 1) {
    bytes[random(bytes.length)] = random(2) === 0 ? random(256) : TELLING[random(TELLING.length)]!;
  }
  switch (random(8)) {
    case 0:
      return bytes.subarray(0, random(bytes.length + 1));
    case 1:
      return Buffer.concat([bytes, SEEDS[random(SEEDS.length)]!.subarray(random(12))]);
    case 2:
      return Buffer.from(Array.from({ length: random(80) }, () => random(256)));
    default:
      return bytes;
  }
}
