/** What a worker counted, for metrics. On the way of every query: a few additions, and no text. */
import { copyOf, type Histogram, newHistogram, observe } from './histogram.ts';
import { isNamedType, rcodeName, typeName } from './types.ts';
import { FLAG, type Query } from './wire/query.ts';

/** As CoreDNS has them: seconds, 0.25 ms * 2^n, and below, where answers of our own are; bytes. */
const DURATIONS = [0.000_01, 0.000_05, ...Array.from({ length: 16 }, (_, n) => 0.000_25 * 2 ** n)];
const SIZES = [100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000];
/** Types below this have a place. 0 is no type (RFC 6895 §3.1). */
const COUNTED_TYPES = 258;
const OTHER_TYPE = 0;
const MOST_RCODE = 32;

/** Counts of one transport. */
class Transport {
  /** By type: of IPv4, and of IPv6. What has no place of its own is counted at OTHER_TYPE. */
  readonly requests = [new Array<number>(COUNTED_TYPES).fill(0), new Array<number>(COUNTED_TYPES).fill(0)] as const;
  readonly requestSize = newHistogram(SIZES);
  readonly responseSize = newHistogram(SIZES);
}

export interface QueryReadings {
  /** By `udp IPv4 A`: transport, the client's family, type; types without a name are `other`. */
  readonly requests: Readonly<Record<string, number>>;
  /** By the rcode's name. */
  readonly responses: Readonly<Record<string, number>>;
  /** Questions with the DO bit. */
  readonly dnssecRequests: number;
  readonly truncated: number;
  /** Questions of clients that aren't answered. */
  readonly refused: number;
  /** Questions beyond a client's rate, which got no answer, or REFUSED by TCP. */
  readonly rateLimited: number;
  /** Messages that aren't questions: answers, or too short. */
  readonly malformed: number;
  /** Questions that met an error of ours, which `onFault` was told. */
  readonly faults: number;
  /** Seconds. Of answers that wait for nobody one of 64 is measured, and counts 64. */
  readonly duration: Histogram;
  /** Bytes, by transport. */
  readonly requestSize: Readonly<Record<'udp' | 'tcp', Histogram>>;
  readonly responseSize: Readonly<Record<'udp' | 'tcp', Histogram>>;
}

export class Counters {
  readonly #udp = new Transport();
  readonly #tcp = new Transport();
  readonly #responses = new Array<number>(MOST_RCODE).fill(0);
  readonly #duration = newHistogram(DURATIONS);
  dnssecRequests = 0;
  truncated = 0;
  refused = 0;
  rateLimited = 0;
  malformed = 0;
  faults = 0;

  asked(
    { type, edns }: Query,
    bytes: number,
    { isTcp, isIPv6 }: { readonly isTcp: boolean; readonly isIPv6: boolean },
  ): void {
    const transport = isTcp ? this.#tcp : this.#udp;
    const requests = transport.requests[isIPv6 ? 1 : 0];
    requests[type < COUNTED_TYPES ? type : OTHER_TYPE]! += 1;
    observe(transport.requestSize, bytes);
    if (edns?.isDnssecOk === true) this.dnssecRequests += 1;
  }

  answered(response: Buffer, { edns }: Query, isTcp: boolean): void {
    // What EDNS adds to the rcode is behind OPT's name, type and size, and OPT is the last of a message.
    const extended = edns === undefined ? 0 : response[response.length - 6]! << 4;
    this.#responses[((response[3]! & 15) | extended) % MOST_RCODE]! += 1;
    if ((response[2]! & (FLAG.truncated >> 8)) !== 0) this.truncated += 1;
    observe((isTcp ? this.#tcp : this.#udp).responseSize, response.length);
  }

  /** @param weight how many answers took that long */
  observe(ms: number, weight: number): void {
    observe(this.#duration, ms / 1000, weight);
  }

  readings(): QueryReadings {
    const { dnssecRequests, truncated, refused, rateLimited, malformed, faults } = this;
    const responses = this.#responses.flatMap((count, rcode) =>
      count === 0 ? [] : [[rcodeName(rcode), count] as const],
    );
    const [udp, tcp] = [this.#udp, this.#tcp];
    return {
      requests: { ...requestsOf('udp', udp), ...requestsOf('tcp', tcp) },
      responses: Object.fromEntries(responses),
      ...{ dnssecRequests, truncated, refused, rateLimited, malformed, faults },
      duration: copyOf(this.#duration),
      requestSize: { udp: copyOf(udp.requestSize), tcp: copyOf(tcp.requestSize) },
      responseSize: { udp: copyOf(udp.responseSize), tcp: copyOf(tcp.responseSize) },
    };
  }
}

function requestsOf(transport: 'udp' | 'tcp', { requests }: Transport): Record<string, number> {
  const named: Record<string, number> = {};
  for (const [i, counts] of requests.entries()) {
    for (const [type, count] of counts.entries()) {
      if (count === 0) continue;
      const name = `${transport} ${i === 0 ? 'IPv4' : 'IPv6'} ${isNamedType(type) ? typeName(type) : 'other'}`;
      named[name] = (named[name] ?? 0) + count;
    }
  }
  return named;
}
