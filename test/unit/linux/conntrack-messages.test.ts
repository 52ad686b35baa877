import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeFlow,
  eachAttribute,
  encodeDelete,
  encodeDump,
  encodeNew,
  type Flow,
  isWanted,
  UDP,
} from '../../../src/linux/conntrack-messages.ts';
import { canonicalIP } from '../../../src/net/ip.ts';

const port = fc.integer({ min: 0, max: 65_535 });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const canonical = (text: string) => canonicalIP(text) ?? expect.unreachable(text);
/** Not those that stand for an IPv4 address: they have two spellings. */
const ipv6 = fc
  .ipV6()
  .map(canonical)
  .filter(ip => ip.includes(':'));
const families = [
  { family: 'IPv4' as const, address: fc.ipV4().map(canonical) },
  { family: 'IPv6' as const, address: ipv6 },
];

const flows = fc.constantFrom(...families).chain(({ family, address }) => {
  const tuple = fc.record({
    source: address,
    destination: address,
    protocol: fc.constant(UDP),
    sourcePort: port,
    destinationPort: port,
    zone: port,
  });
  return fc.record({
    family: fc.constant(family),
    id: fc.constant(0),
    zone: port,
    status: u32,
    original: tuple,
    reply: tuple,
  });
});

const request = { sequence: 7, isAcknowledged: false };
const flow: Flow = {
  family: 'IPv4',
  id: 0xfedcba98,
  zone: 0,
  status: 8,
  original: {
    source: '10.244.1.3',
    destination: '10.96.0.10',
    protocol: UDP,
    sourcePort: 40_000,
    destinationPort: 53,
    zone: 0,
  },
  reply: {
    source: '10.244.2.2',
    destination: '10.244.1.3',
    protocol: UDP,
    sourcePort: 5353,
    destinationPort: 40_000,
    zone: 0,
  },
};

/** The attributes of a message at its top: type → value. */
function attributesOf(message: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  eachAttribute(message, 20, message.length, (type, from, to) => found.set(type, message.subarray(from, to)));
  return found;
}

describe('an entry', () => {
  it('is decoded as it was encoded', () => {
    fc.assert(
      fc.property(flows, sent => {
        const message = encodeNew(sent, 60, request);
        expect(decodeFlow(message, 0, message.length, UDP)).toEqual(sent);
      }),
    );
  });

  it('is found anywhere in an answer, and only by its protocol', () => {
    const message = encodeNew(flow, 60, request);
    const answer = Buffer.concat([Buffer.alloc(12), message]);
    expect(decodeFlow(answer, 12, answer.length, UDP)).toEqual({ ...flow, id: 0 });
    expect(decodeFlow(answer, 12, answer.length, 6)).toBeUndefined();
  });

  it('of ICMP has a number instead of ports, which is told when it is deleted', () => {
    for (const family of ['IPv4', 'IPv6'] as const) {
      const ends = family === 'IPv4' ? ['10.0.0.1', '10.0.0.2'] : ['fd00::1', 'fd00::2'];
      const [source, destination] = ends as [string, string];
      const tuple = { source, destination, protocol: 1, sourcePort: 0, destinationPort: 0, zone: 0 };
      const ping: Flow = {
        ...flow,
        family,
        id: 0,
        original: { ...tuple, icmp: { id: 7, type: 8, code: 0 } },
        reply: { ...tuple, source: destination, destination: source, icmp: { id: 7, type: 0, code: 0 } },
      };
      const message = encodeNew(ping, 60, request);
      expect(decodeFlow(message, 0, message.length)).toEqual(ping);
    }
  });

  it('is asked for whatever its protocol is, and wanted then', () => {
    expect(encodeDump({ family: 'IPv4' })).toHaveLength(20);
    expect(isWanted({ ...flow, family: 'IPv4' }, { family: 'IPv4' })).toBe(true);
    expect(isWanted({ ...flow, family: 'IPv4' }, { family: 'IPv6' })).toBe(false);
  });

  it('that is cut is none', () => {
    const message = encodeNew(flow, 60, request);
    for (let end = 0; end < 60; end += 1)
      expect(decodeFlow(message.subarray(0, end + 16), 0, end, UDP)).toBeUndefined();
  });
});

describe('a request to delete', () => {
  it('names the original tuple and the id: without a tuple the kernel flushes the table', () => {
    const message = encodeDelete(flow, request);
    const [deletion, creation] = [attributesOf(message), attributesOf(encodeNew(flow, 60, request))];
    expect([...deletion.keys()]).toEqual([1, 12]);
    expect(deletion.get(1)).toEqual(creation.get(1));
    expect(deletion.get(12)?.readUInt32BE()).toBe(flow.id);
  });

  it('names the zone, if there is one', () => {
    const message = encodeDelete({ ...flow, zone: 77 }, request);
    expect(attributesOf(message).get(18)?.readUInt16BE()).toBe(77);
  });

  it('is refused for what is no address', () => {
    const original = { ...flow.original, source: 'fd00::1' };
    expect(() => encodeDelete({ ...flow, original }, request)).toThrow('not an IPv4 address: fd00::1');
  });
});

describe('a filter', () => {
  const filter = { family: 'IPv4', protocol: UDP } as const;

  it('is looked at here too, for kernels that send everything', () => {
    expect(isWanted(flow, filter)).toBe(true);
    expect(isWanted(flow, { ...filter, destination: '10.96.0.10', destinationPort: 53 })).toBe(true);
    expect(isWanted(flow, { ...filter, destinationPort: 54 })).toBe(false);
    expect(isWanted(flow, { ...filter, destination: '10.96.0.11' })).toBe(false);
    expect(isWanted(flow, { ...filter, protocol: 6 })).toBe(false);
    expect(isWanted(flow, { ...filter, family: 'IPv6' })).toBe(false);
  });

  it('of IPv6 is sent without the address', () => {
    const message = encodeDump({ family: 'IPv6', protocol: UDP, destination: 'fd00::10', destinationPort: 53 });
    const bits = attributesOf(message).get(25) ?? expect.unreachable();
    expect(bits[4]).toBe(8 | 32);
  });

  it('is sent as a tuple and as the bits that say which parts of it count', () => {
    const all = attributesOf(encodeDump({ ...filter, destination: '10.96.0.10', destinationPort: 53 }));
    expect([...all.keys()]).toEqual([1, 25]);
    // Two attributes of four bytes each after their headers: CTA_IP_DST, CTA_PROTO_NUM, CTA_PROTO_DST_PORT; nothing of the reply.
    const bits = all.get(25) ?? expect.unreachable();
    expect([bits[4], bits[12]]).toEqual([2 | 8 | 32, 0]);
  });
});
