/**
 * The addresses of one network: who has which, and which rest. An address that was given back rests before it is given again,
 * because peers and conntrack still know it as the pod before; when nothing else is free, the one that has rested longest goes
 * first. Every step costs the same at one lease and at ten thousand. Pure; the clock is an argument, in milliseconds.
 */
import { type Place, placeOf } from '../../net/address-value.ts';
import { cidrContains, parseCIDR } from '../../net/cidr.ts';
import { type AddressRange, type RangeSet, rangeText } from '../config/ranges.ts';
import { CniError, CODE } from '../types.ts';
import { rangeContains, SetTracker } from './set-tracker.ts';

/** Longer than TIME_WAIT and than conntrack keeps an assured UDP flow (nf_conntrack_udp_timeout_stream, 120 s). */
export const COOL_DOWN_MS = 130_000;

/** A network's ranges change now and then (another PodCIDR); whoever changes them with every pod pays with O(leases). */
const MOST_SETS = 8;
/** Of so many sets it is known where the search goes on; each is some bytes. */
const MOST_LAST = 64;

export interface PoolOptions<Holder> {
  readonly coolDownMs?: number;
  /** For the error that names who has an address. */
  readonly describe: (holder: Holder) => string;
}

export interface AllocationRequest {
  readonly sets: readonly RangeSet[];
  /** Canonical addresses that it must be: at most one of each set. */
  readonly requested: readonly string[];
}

/** One address that can be taken now. */
export interface Allocation {
  readonly ip: string;
  readonly range: AddressRange;
  readonly set: RangeSet;
  /** It was asked for, so the search doesn't go on behind it. */
  readonly isRequested: boolean;
  readonly wasResting: boolean;
}

interface Tracked {
  readonly set: RangeSet;
  readonly tracker: SetTracker;
}

export class AddressPool<Holder> {
  readonly #coolDownMs: number;
  readonly #describe: (holder: Holder) => string;
  readonly #held = new Map<string, Holder>();
  /** Since when, the earliest first. */
  readonly #resting = new Map<string, number>();
  /** By key, the last used last. */
  readonly #trackers = new Map<string, Tracked>();
  /** By key of the set: the last address that it gave. */
  readonly #last = new Map<string, string>();

  constructor({ coolDownMs = COOL_DOWN_MS, describe }: PoolOptions<Holder>) {
    this.#coolDownMs = coolDownMs;
    this.#describe = describe;
  }

  /** One address of every set, or none. Nothing is held by that, see `take`; rests end before, see `endRests`. @throws CniError (100, 101) */
  allocate({ sets, requested }: AllocationRequest): readonly Allocation[] {
    const wanted = new Set(requested);
    const allocations = sets.map(set => this.#requestedOf(set, wanted) ?? { set });
    for (const ip of wanted) throw outOfRange(ip, sets);
    return allocations.map(allocation => ('ip' in allocation ? allocation : this.#next(allocation.set)));
  }

  /** @param allocations just made by `allocate`. Returns the keys of sets of which `lastOf` says something new. */
  take(allocations: readonly Allocation[], holder: Holder): readonly string[] {
    for (const { ip } of allocations) this.hold(ip, holder);
    return allocations.flatMap(({ ip, set, isRequested }) => (isRequested ? [] : this.moveTo(set.key, ip)));
  }

  /** Whatever the ranges: what the disk or the kernel says is so. @throws CniError (101) when another holds it */
  hold(ip: string, holder: Holder): void {
    const other = this.#held.get(ip);
    if (other !== undefined && other !== holder) throw this.#taken(ip, other);
    this.#held.set(ip, holder);
    this.#resting.delete(ip);
    this.#onTrackers(ip, (tracker, place) => tracker.take(place));
  }

  /** Gives back what nobody used. */
  free(ip: string): void {
    this.#held.delete(ip);
    this.#resting.delete(ip);
    this.#onTrackers(ip, (tracker, place) => tracker.giveBack(place));
  }

  /** Gives back what somebody used. @param sinceMs not before the rest of any other began */
  rest(ip: string, sinceMs: number): void {
    this.#held.delete(ip);
    this.#resting.delete(ip);
    this.#resting.set(ip, sinceMs);
    this.#onTrackers(ip, (tracker, place) => tracker.take(place));
  }

  /** Ends every rest that was long enough; which those were. */
  endRests(nowMs: number): readonly string[] {
    const ended: string[] = [];
    for (const [ip, since] of this.#resting) {
      if (nowMs - since < this.#coolDownMs) break;
      ended.push(ip);
      this.free(ip);
    }
    return ended;
  }

  /** The search in this set goes on behind `ip`. Returns as `take` does. */
  moveTo(setKey: string, ip: string): readonly string[] {
    this.#last.delete(setKey);
    this.#last.set(setKey, ip);
    this.#trackers.get(setKey)?.tracker.moveTo(placeOf(ip));
    const [oldest] = this.#last.keys();
    if (this.#last.size <= MOST_LAST || oldest === undefined) return [setKey];
    this.#last.delete(oldest);
    return [setKey, oldest];
  }

  lastOf(setKey: string): string | undefined {
    return this.#last.get(setKey);
  }

  /** `lastOf` by key of the set. */
  get last(): ReadonlyMap<string, string> {
    return this.#last;
  }

  holderOf(ip: string): Holder | undefined {
    return this.#held.get(ip);
  }

  restingSince(ip: string): number | undefined {
    return this.#resting.get(ip);
  }

  /** Since when, by address. */
  get resting(): ReadonlyMap<string, number> {
    return this.#resting;
  }

  /** Whether somebody could have an address of this set now. */
  hasAddress(set: RangeSet): boolean {
    return this.#tracker(set).next() !== undefined || this.#longestRested(set) !== undefined;
  }

  #requestedOf(set: RangeSet, wanted: Set<string>): Allocation | undefined {
    for (const ip of wanted) {
      const range = rangeWith(set, placeOf(ip));
      if (range === undefined) continue;
      wanted.delete(ip);
      if (set.ranges.some(({ gateway }) => gateway === ip)) throw refused(ip, `is the gateway of ${range.subnet}`);
      const holder = this.#held.get(ip);
      if (holder !== undefined) throw this.#taken(ip, holder);
      return { ip, range, set, isRequested: true, wasResting: this.#resting.has(ip) };
    }
    return undefined;
  }

  #next(set: RangeSet): Allocation {
    const candidate = this.#tracker(set).next();
    if (candidate !== undefined) return { ...candidate, set, isRequested: false, wasResting: false };
    const rested = this.#longestRested(set);
    if (rested !== undefined) return { ...rested, set, isRequested: false, wasResting: true };
    throw new CniError(CODE.noAddress, `no IP addresses available in range set: ${set.key}`);
  }

  #longestRested(set: RangeSet): { readonly ip: string; readonly range: AddressRange } | undefined {
    for (const ip of this.#resting.keys()) {
      const range = rangeWith(set, placeOf(ip));
      if (range !== undefined && set.ranges.every(({ gateway }) => gateway !== ip)) return { ip, range };
    }
    return undefined;
  }

  #tracker(set: RangeSet): SetTracker {
    const known = this.#trackers.get(set.key);
    const tracked = known !== undefined && haveSameGateways(known.set, set) ? known : this.#track(set);
    this.#trackers.delete(set.key);
    this.#trackers.set(set.key, tracked);
    return tracked.tracker;
  }

  #track(set: RangeSet): Tracked {
    for (const oldest of this.#trackers.keys()) {
      if (this.#trackers.size < MOST_SETS) break;
      this.#trackers.delete(oldest);
    }
    const tracker = new SetTracker(set, [...this.#held.keys(), ...this.#resting.keys()]);
    const last = this.#last.get(set.key);
    if (last !== undefined) tracker.moveTo(placeOf(last));
    return { set, tracker };
  }

  #onTrackers(ip: string, change: (tracker: SetTracker, place: Place) => void): void {
    if (this.#trackers.size === 0) return;
    const place = placeOf(ip);
    for (const { tracker } of this.#trackers.values()) change(tracker, place);
  }

  #taken(ip: string, holder: Holder): CniError {
    return refused(ip, `is held by ${this.#describe(holder)}`);
  }
}

function refused(ip: string, reason: string): CniError {
  return new CniError(CODE.addressTaken, `${ip} ${reason}`);
}

function rangeWith(set: RangeSet, place: Place): AddressRange | undefined {
  return set.ranges.find(range => rangeContains(range, place));
}

function haveSameGateways(a: RangeSet, b: RangeSet): boolean {
  return a.ranges.every(({ gateway }, index) => gateway === b.ranges[index]?.gateway);
}

/** Why a requested address is in no set that still has to give one. */
function outOfRange(ip: string, sets: readonly RangeSet[]): CniError {
  const place = placeOf(ip);
  const ranges = sets.flatMap(set => set.ranges);
  if (ranges.some(range => rangeContains(range, place))) {
    return refused(ip, 'is a second one of the same range set, which gives one');
  }
  for (const range of ranges) {
    const subnet = parseCIDR(range.subnet);
    if (subnet === undefined || !cidrContains(subnet, ip)) continue;
    if (ip === subnet.address) return refused(ip, `is the network address of ${subnet.text}`);
    if (ip === range.gateway) return refused(ip, `is the gateway of ${subnet.text}`);
    if (isBroadcast(range, place)) return refused(ip, `is the broadcast address of ${subnet.text}`);
    return refused(ip, `is not in the range ${rangeText(range)} of ${subnet.text}`);
  }
  return refused(ip, `is not in any range: ${sets.map(({ key }) => key).join(', ') || 'there is none'}`);
}

function isBroadcast({ family, prefixLength }: AddressRange, { value }: Place): boolean {
  const hostBits = (1n << BigInt(32 - Math.min(prefixLength, 32))) - 1n;
  return family === 'IPv4' && (value & hostBits) === hostBits;
}
