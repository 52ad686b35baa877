/** Where a range set has an address to give: next-fit behind the last one given. Pure. */
import { addressOfValue, type Place, placeOf } from '../../net/address-value.ts';
import type { AddressRange, RangeSet } from '../config/ranges.ts';
import { OffsetSet } from './offset-set.ts';

/** Of a larger range only so many are given without being asked for; no node reaches the end. */
const MOST_OFFSETS = 2 ** 48;

export interface Candidate {
  readonly ip: string;
  readonly range: AddressRange;
}

interface TrackedRange {
  readonly range: AddressRange;
  readonly size: number;
  readonly taken: OffsetSet;
}

export class SetTracker {
  readonly #ranges: readonly TrackedRange[];
  readonly #gateways: ReadonlySet<string>;
  /** The last one given: index of the range, and offset in it. */
  #last = { range: 0, offset: -1 };

  /** @param taken which addresses can't be given now; those of other ranges don't matter */
  constructor(set: RangeSet, taken: Iterable<string>) {
    this.#ranges = set.ranges.map(trackRange);
    this.#gateways = new Set(set.ranges.map(({ gateway }) => gateway));
    for (const gateway of this.#gateways)
      this.#locate(placeOf(gateway), (tracked, offset) => tracked.taken.add(offset));
    for (const ip of taken) this.take(placeOf(ip));
  }

  take(place: Place): void {
    this.#locate(place, ({ taken }, offset) => taken.add(offset));
  }

  giveBack(place: Place): void {
    this.#locate(place, ({ taken, range }, offset) => {
      if (!this.#gateways.has(addressOfValue(range.family, place.value))) taken.delete(offset);
    });
  }

  /** The next search begins behind this address; one of no range is ignored, as host-local does. */
  moveTo(place: Place): void {
    this.#locate(place, (_, offset, range) => {
      this.#last = { range, offset };
    });
  }

  next(): Candidate | undefined {
    const count = this.#ranges.length;
    // The range of the last one twice: from behind it, and at the end from its beginning.
    for (let step = 0; step <= count; step++) {
      const tracked = this.#ranges[(this.#last.range + step) % count];
      const offset = tracked?.taken.nextAbsent(step === 0 ? this.#last.offset + 1 : 0);
      if (tracked === undefined || offset === undefined) continue;
      const { range } = tracked;
      return { ip: addressOfValue(range.family, range.first + BigInt(offset)), range };
    }
    return undefined;
  }

  #locate(place: Place, found: (tracked: TrackedRange, offset: number, index: number) => void): void {
    for (const [index, tracked] of this.#ranges.entries()) {
      if (!rangeContains(tracked.range, place)) continue;
      const offset = Number(place.value - tracked.range.first);
      if (offset < tracked.size) found(tracked, offset, index);
    }
  }
}

function trackRange(range: AddressRange): TrackedRange {
  const all = range.last - range.first + 1n;
  const size = all > BigInt(MOST_OFFSETS) ? MOST_OFFSETS : Number(all);
  return { range, size, taken: new OffsetSet(size) };
}

export function rangeContains({ family, first, last }: AddressRange, place: Place): boolean {
  return place.family === family && place.value >= first && place.value <= last;
}
