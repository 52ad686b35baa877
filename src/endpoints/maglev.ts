/**
 * Which endpoint each slot of a client's hash belongs to: a table of fixed size, so that a client keeps its endpoint while
 * others come and go. The same endpoints always give the same table, on every node and after every restart.
 */

export interface WeightedEndpoint {
  /** Its identity, such as `10.244.1.2:8080`; distinct within a table. */
  readonly key: string;
  /** Its part of the slots compared to the others'; whole, 0 = none. */
  readonly weight: number;
}

/** Prime, small enough for a table per Service, the smallest table of Maglev's authors being 65537. */
export const MAGLEV_SLOTS = 251;

/** An endpoint with its place in the list, what it may have, and the state of its random numbers. */
interface Claimant {
  readonly index: number;
  readonly weight: number;
  readonly seed: number;
  /** Slots, not whole. */
  readonly share: number;
  readonly least: number;
  readonly most: number;
}

/** A claimant's wish for a slot; an earlier one goes first. */
interface Wish {
  readonly at: number;
  readonly slot: number;
  readonly claimant: Claimant;
}

/**
 * Index in `endpoints` of each slot's endpoint, whatever the order of the list; empty where all weights are 0.
 *
 * As in Maglev (Eisenbud et al., NSDI 2016, 3.4) each endpoint has its own random order of the slots, and a slot goes to whom
 * it comes up for first. Maglev then takes turns until the counts differ by one at most. At 65537 slots that costs little; at
 * 251 it moves 1.5/n of the slots when one of 10 endpoints goes and 4/n at 60 (1/n are the slots of the one that goes), because
 * each turn depends on all turns before. Here a wish has a time instead of a turn (exponential with the weight as its rate, as
 * in weighted rendezvous hashing), which no other endpoint changes: then only the slots of the one that goes would move, but
 * the counts spread by a third at 60. Between the two: no endpoint gets more than its share and `tolerance` slots, nor fewer
 * than its share without them. Removing one of n endpoints moves at most 1.3/n of the slots, averaged over who it is.
 */
export function maglevTable(endpoints: readonly WeightedEndpoint[], size: number = MAGLEV_SLOTS): readonly number[] {
  const claimants = claimantsOf(endpoints, size);
  if (claimants.length === 0) return [];
  const total = claimants.reduce((sum, { weight }) => sum + weight, 0);
  // The last of the slots is wished for at about ln(size) / total; upper bounds delay some.
  for (let horizon = (1.5 * Math.log(size)) / total; ; horizon *= 2) {
    const owners = assign(claimants, size, horizon);
    if (owners === undefined) continue;
    raise(claimants, owners);
    return owners.map(({ index }) => index);
  }
}

function claimantsOf(endpoints: readonly WeightedEndpoint[], size: number): readonly Claimant[] {
  const usable = [...endpoints.entries()].filter(([, { weight }]) => weight > 0);
  const total = usable.reduce((sum, [, { weight }]) => sum + weight, 0);
  return usable
    .sort(([, a], [, b]) => (a.key < b.key ? -1 : 1))
    .map(([index, { key, weight }]) => {
      const share = (size * weight) / total;
      const seed = hash(key);
      const allowed = tolerance(share, size);
      // Bounds rounded by each one's own luck: were all rounded alike, all would change at once.
      const least = Math.max(share >= 1 ? 1 : 0, Math.floor(share - allowed + fraction(seed ^ 1)));
      const most = Math.floor(share + allowed + fraction(seed ^ 2));
      return { index, weight, seed, share, least, most };
    });
}

/**
 * Slots by which a count may differ from its share. Measured, as a compromise: at 251 slots 1.16/n move at most, averaged over
 * many sets of endpoints, 1.4/n for the worst set and 2.2/n for the worst endpoint to go (of 25 and more; 1.6/n of 10, of whose
 * slots it had 1.15/n). Half of it would move 1.5/n of 20. Never below 1, or the upper bounds might not add up to all slots.
 */
function tolerance(share: number, size: number): number {
  const scale = Math.sqrt(size / MAGLEV_SLOTS);
  return Math.max(1, scale * Math.min(3.5, (80 * scale * scale) / share));
}

/** Slots to whom they come up for first, as far as upper bounds allow; undefined when wishes up to `horizon` don't reach. */
function assign(claimants: readonly Claimant[], size: number, horizon: number): Claimant[] | undefined {
  const owners = new Array<Claimant | undefined>(size).fill(undefined);
  const counts = new Map<Claimant, number>();
  let left = size;
  for (const { slot, claimant } of wishes(claimants, size, horizon)) {
    const count = counts.get(claimant) ?? 0;
    if (owners[slot] !== undefined || count >= claimant.most) continue;
    owners[slot] = claimant;
    counts.set(claimant, count + 1);
    left -= 1;
  }
  return left === 0 ? (owners as Claimant[]) : undefined;
}

/** Gives those below their lower bound the slots that come up for them first, of owners that have more than their share. */
function raise(claimants: readonly Claimant[], owners: Claimant[]): void {
  const counts = new Map(claimants.map(claimant => [claimant, 0]));
  for (const owner of owners) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  const countOf = (claimant: Claimant) => counts.get(claimant) ?? 0;
  const needy = claimants.filter(claimant => countOf(claimant) < claimant.least);
  for (const { slot, claimant } of wishes(needy, owners.length, Number.POSITIVE_INFINITY)) {
    const owner = owners[slot];
    if (owner === undefined || countOf(claimant) >= claimant.least || countOf(owner) <= owner.share) continue;
    owners[slot] = claimant;
    counts.set(owner, countOf(owner) - 1);
    counts.set(claimant, countOf(claimant) + 1);
  }
}

/** The wishes of the claimants up to a time, the earliest first. */
function wishes(claimants: readonly Claimant[], size: number, horizon: number): readonly Wish[] {
  const found: Wish[] = [];
  const inOrder = Uint32Array.from({ length: size }, (_, slot) => slot);
  for (const claimant of claimants) {
    const order = inOrder.slice();
    for (let rank = 0; rank < size; rank++) {
      const random = mix(claimant.seed + Math.imul(rank + 3, 0x9e3779b1));
      // Fisher-Yates, as far as it is needed.
      const other = rank + (random % (size - rank));
      const slot = order[other] ?? 0;
      order[other] = order[rank] ?? 0;
      // One wish in each of `size` equal parts of the distribution: counts spread less than with times drawn at random.
      const at = -Math.log(1 - (rank + fraction(random)) / size) / claimant.weight;
      if (at > horizon) break;
      found.push({ at, slot, claimant });
    }
  }
  return found.sort((a, b) => a.at - b.at);
}

/** FNV-1a, mixed: 32 bits. */
function hash(text: string): number {
  let bits = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) bits = Math.imul(bits ^ text.charCodeAt(i), 0x01000193);
  return mix(bits);
}

/** The finaliser of MurmurHash3: each bit of the number changes half of the result's. */
function mix(number: number): number {
  let bits = number ^ (number >>> 16);
  bits = Math.imul(bits, 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}

/** From 0 to below 1. */
function fraction(number: number): number {
  return mix(number) / 2 ** 32;
}
