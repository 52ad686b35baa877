/** Which elements the pods together have: what several of them have in common is there as long as one has it. Pure. */
import type { NftFamily } from '../../backends/nftables/packet.ts';
import type { CIDR } from '../../net/cidr.ts';
import type { IPFamily } from '../../net/ip.ts';
import { isUnspecified } from '../../net/ip.ts';
import type { Element } from '../../netfilter/messages.ts';
import { CniError, CODE } from '../types.ts';
import { elementsOf, hostPortFamilies, intervalElements, type RuleElement, rangeOf } from './elements.ts';
import { SETS } from './names.ts';
import type { PodRules } from './pod-rules.ts';

/** What one pod's coming or going changes. */
export interface Change {
  readonly added: readonly RuleElement[];
  readonly deleted: readonly RuleElement[];
}

interface Entry {
  readonly element: RuleElement;
  readonly owners: Set<string>;
}

export class Ledger {
  readonly #pods = new Map<string, PodRules>();
  readonly #entries = new Map<string, Entry>();
  /** How many pods each network has, and how many for which no pod is masqueraded on its way there. */
  readonly #networks = new Map<string, number>();
  readonly #excepted = new Map<string, number>();
  /** How many pods that are reached at 127.0.0.1 are behind each interface, which is a bridge as a rule. */
  readonly #localnets = new Map<string, number>();
  readonly #unmasqueraded: readonly CIDR[];
  #rangesVersion = 0;

  constructor(nonMasqueradeCIDRs: readonly string[] = []) {
    this.#unmasqueraded = nonMasqueradeCIDRs.map(rangeOf);
  }

  get(key: string): PodRules | undefined {
    return this.#pods.get(key);
  }

  get pods(): Iterable<PodRules> {
    return this.#pods.values();
  }

  /** Another number after each change of the networks. */
  get rangesVersion(): number {
    return this.#rangesVersion;
  }

  /**
   * A pod comes, changes, or (undefined) goes. Nothing has changed when it throws.
   * @throws CniError when a hostPort is another pod's, TypeError for what isn't an address
   */
  set(key: string, pod: PodRules | undefined): Change {
    const before = this.#pods.get(key);
    const [old, wanted] = [byPlace(before), byPlace(pod)];
    for (const [place, element] of wanted) this.#refuseTaken(place, element, key);
    const deleted = [...old].filter(([place, element]) => !isSame(wanted.get(place), element));
    const added = [...wanted].filter(([place, element]) => !isSame(old.get(place), element));
    const gone = deleted.filter(([place]) => this.#leave(place, key)).map(([, element]) => element);
    const come = added.filter(([place, element]) => this.#join(place, element, key)).map(([, element]) => element);
    for (const [each, by] of [
      [before, -1],
      [pod, 1],
    ] as const) {
      this.#countNetworks(each, by);
      if (each?.behind !== undefined && hasLocalnet(each)) add(this.#localnets, each.behind, by);
    }
    if (pod === undefined) this.#pods.delete(key);
    else this.#pods.set(key, pod);
    return { added: come, deleted: gone };
  }

  /** The sets of a family, each with all its elements; those of the bridge family have no ranges. */
  setsOf(family: NftFamily): ReadonlyMap<string, readonly Element[]> {
    const sets = new Map<string, Element[]>();
    for (const { element } of this.#entries.values()) {
      if (element.family !== family) continue;
      const found = sets.get(element.set);
      if (found === undefined) sets.set(element.set, [element.element]);
      else found.push(element.element);
    }
    return family === 'bridge' ? sets : new Map([...sets, ...this.rangesOf(family)]);
  }

  /** The sets of ranges of a family. */
  rangesOf(family: IPFamily): ReadonlyMap<string, readonly Element[]> {
    return new Map([[SETS.unmasqueraded, intervalElements(this.networksOf(family).unmasqueraded)]]);
  }

  /** The networks of the pods here, and where pods are reached with their own address: those that are of pods alone, and what is configured. */
  networksOf(family: IPFamily): { readonly podNetworks: readonly CIDR[]; readonly unmasqueraded: readonly CIDR[] } {
    const ofFamily = (ranges: readonly CIDR[]) => ranges.filter(range => range.family === family);
    const excepted = [...this.#excepted.keys()].map(rangeOf);
    return {
      podNetworks: ofFamily([...this.#networks.keys()].map(rangeOf)),
      unmasqueraded: ofFamily([...excepted, ...this.#unmasqueraded]),
    };
  }

  /** Families in which pods have anything. */
  families(): ReadonlySet<NftFamily> {
    const networks = [...this.#networks.keys()].map(text => rangeOf(text).family);
    return new Set<NftFamily>([...networks, ...[...this.#entries.values()].map(({ element }) => element.family)]);
  }

  /** Bridges behind which a hostPort is that clients reach at 127.0.0.1. */
  localnetBridges(): ReadonlySet<string> {
    return new Set(this.#localnets.keys());
  }

  #refuseTaken(place: string, { set, element, what }: RuleElement, key: string): void {
    const entry = this.#entries.get(place);
    const holder = entry?.owners.values().find(owner => owner !== key);
    if (entry === undefined || holder === undefined || set !== SETS.hostPorts) return;
    if (isSame(entry.element, { family: entry.element.family, set, element, what })) return;
    throw new CniError(CODE.portTaken, `${what} is taken by ${holder}`);
  }

  /** True when nobody had it. */
  #join(place: string, element: RuleElement, key: string): boolean {
    const entry = this.#entries.get(place);
    if (entry === undefined) this.#entries.set(place, { element, owners: new Set([key]) });
    else entry.owners.add(key);
    return entry === undefined;
  }

  /** True when nobody has it any more. */
  #leave(place: string, key: string): boolean {
    const entry = this.#entries.get(place);
    entry?.owners.delete(key);
    return entry?.owners.size === 0 && this.#entries.delete(place);
  }

  #countNetworks(pod: PodRules | undefined, by: 1 | -1): void {
    if (pod === undefined) return;
    for (const counts of [this.#networks, ...(pod.areOfPods ? [this.#excepted] : [])]) {
      for (const network of pod.networks) {
        const count = add(counts, rangeOf(network).text, by);
        if (count === 0 || (by === 1 && count === 1)) this.#rangesVersion += 1;
      }
    }
  }
}

/** The new count. */
function add(counts: Map<string, number>, key: string, by: number): number {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
  return count;
}

/** Whether clients may ask for a hostPort of it at 127.0.0.1. */
function hasLocalnet({ hostPorts, addresses }: PodRules): boolean {
  return hostPorts.some(hostPort => {
    const { hostIP } = hostPort;
    const isThere = hostIP === '' || isUnspecified(hostIP) || hostIP.startsWith('127.');
    return isThere && hostPortFamilies(hostPort, addresses).includes('IPv4');
  });
}

function byPlace(pod: PodRules | undefined): Map<string, RuleElement> {
  const elements = pod === undefined ? [] : elementsOf(pod);
  return new Map(elements.map(each => [placeOf(each), each]));
}

function placeOf({ family, set, element }: RuleElement): string {
  return `${family} ${set} ${element.key.toString('latin1')} ${element.keyEnd?.toString('latin1') ?? ''}`;
}

/** What several changes, one after the other, come to. */
export function netChange(changes: readonly Change[]): Change {
  const first = new Map<string, RuleElement | undefined>();
  const last = new Map<string, RuleElement | undefined>();
  const note = (element: RuleElement, isThere: boolean) => {
    const place = placeOf(element);
    if (!first.has(place)) first.set(place, isThere ? undefined : element);
    last.set(place, isThere ? element : undefined);
  };
  for (const { deleted, added } of changes) {
    for (const element of deleted) note(element, false);
    for (const element of added) note(element, true);
  }
  const places = [...last].filter(([place, after]) => {
    const before = first.get(place);
    return after === undefined ? before !== undefined : !isSame(before, after);
  });
  return {
    deleted: places.flatMap(([place]) => first.get(place) ?? []),
    added: places.flatMap(([, after]) => after ?? []),
  };
}

function isSame(a: RuleElement | undefined, b: RuleElement): boolean {
  if (a === undefined) return false;
  const [one, other] = [a.element.data, b.element.data];
  if (one instanceof Uint8Array && other instanceof Uint8Array) return one.equals(other);
  return one === other;
}
