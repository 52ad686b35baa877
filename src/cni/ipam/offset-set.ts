/**
 * A set of numbers from 0 to a size that may be huge, which finds the next number that isn't in it in a few steps however
 * many are: words of 32 bits, above them words that tell which of those are full, and so on. Absent words are empty, so the
 * memory goes with the members alone. Pure.
 */

const FULL = 0xffffffff;

export class OffsetSet {
  readonly #size: number;
  /** By level, then by place: the mask. A bit above the lowest level says that the whole word below is full. */
  readonly #levels: readonly Map<number, number>[];

  /** @param size at most 2^48, so that every step is exact in a double */
  constructor(size: number) {
    this.#size = size;
    let count = 1;
    while (32 ** count < size) count++;
    this.#levels = Array.from({ length: count }, () => new Map<number, number>());
  }

  has(offset: number): boolean {
    return (this.#word(0, Math.floor(offset / 32)) & (1 << (offset % 32))) !== 0;
  }

  add(offset: number): void {
    let position = offset;
    for (const words of this.#levels) {
      const place = Math.floor(position / 32);
      const mask = ((words.get(place) ?? 0) | (1 << (position % 32))) >>> 0;
      words.set(place, mask);
      if (mask !== FULL) return;
      position = place;
    }
  }

  delete(offset: number): void {
    let position = offset;
    for (const words of this.#levels) {
      const place = Math.floor(position / 32);
      const before = words.get(place) ?? 0;
      const mask = (before & ~(1 << (position % 32))) >>> 0;
      if (mask === 0) words.delete(place);
      else words.set(place, mask);
      if (before !== FULL) return;
      position = place;
    }
  }

  /** The lowest number from `from` on that isn't a member; undefined when there is none. */
  nextAbsent(from: number): number | undefined {
    let position = from;
    for (let level = 0; level < this.#levels.length; level++) {
      const place = Math.floor(position / 32);
      const absent = (~this.#word(level, place) & (FULL << (position % 32))) >>> 0;
      if (absent !== 0) return this.#descend(level, place * 32 + lowestBit(absent));
      position = place + 1;
    }
    return undefined;
  }

  #descend(level: number, position: number): number | undefined {
    let found = position;
    for (let below = level - 1; below >= 0; below--) found = found * 32 + lowestBit(~this.#word(below, found) >>> 0);
    return found < this.#size ? found : undefined;
  }

  #word(level: number, place: number): number {
    return this.#levels[level]?.get(place) ?? 0;
  }
}

function lowestBit(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}
