/**
 * All attachments of this node in memory: their records, their addresses and their ports of the node. Tells which rows of the
 * journal are out of date; `rowOf` says what such a row should be. Pure.
 */
import { canonicalIP, type IPFamily, ipFamily } from '../../net/ip.ts';
import type { RangeSet } from '../config/ranges.ts';
import { type AttachmentId, attachmentKey, CniError, CODE, type HostPort } from '../types.ts';
import { type Attachment, addressOf, attachmentText, encodeAttachment, type KeptAddress } from './attachment.ts';
import { HostPortClaims, type PortsOfPod } from './host-ports.ts';
import { copyOf, KeptAttachment, SharedTexts } from './kept-attachment.ts';
import type { Allocation } from './pool.ts';
import { AddressPools } from './pools.ts';

/** What the journal keeps of a book, by table. */
export type BookTable = 'attachments' | 'rests' | 'last_given';

export interface BookRow {
  readonly table: BookTable;
  readonly key: readonly string[];
  readonly value?: string | number;
}

export interface BookOptions {
  /** Milliseconds of a clock that nobody sets. */
  readonly now: () => number;
  readonly coolDownMs?: number;
  /** A row changed. */
  readonly touch: (table: BookTable, key: readonly string[]) => void;
}

/** What is known of an attachment before it is wired. */
export type Reservation = Omit<Attachment, 'state' | 'addresses'> & {
  /** One address of each. */
  readonly rangeSets: readonly RangeSet[];
  /** They are the Node's: whatever their networks are called, no two attachments have the same address. */
  readonly isOfNode?: boolean;
  /** Canonical, without prefix length: which it must be. */
  readonly requested: readonly string[];
  /** Those that another IPAM plugin gave. */
  readonly delegated?: readonly KeptAddress[];
};

/** What wiring found out. */
export type ReadyPatch = Partial<
  Omit<Attachment, 'id' | 'state' | 'createdAt' | 'addresses' | 'hostPorts' | 'isDelegated'>
>;

/** A change that the disk can still refuse. */
export interface Undoable {
  readonly kept: Attachment;
  /** As if it had never been. */
  readonly undo: () => void;
}

export interface Rest {
  readonly network: string;
  readonly ip: string;
  readonly sinceMs: number;
}

export class AttachmentBook {
  readonly #options: BookOptions;
  readonly #kept = new Map<string, KeptAttachment>();
  readonly #pools: AddressPools;
  readonly #claims = new HostPortClaims<string>(key => this.#describe(key));
  readonly #texts = new SharedTexts();

  constructor(options: BookOptions) {
    this.#options = options;
    const { coolDownMs } = options;
    const describe = (key: string) => this.#describe(key);
    this.#pools = new AddressPools({ describe, ...(coolDownMs === undefined ? {} : { coolDownMs }) });
  }

  /** @throws CniError (100, 101, 102, 106) with nothing changed */
  reserve(reservation: Reservation): Undoable {
    const { rangeSets, requested, delegated, isOfNode = false, ...known } = reservation;
    const { network } = known.id;
    const key = this.#freeKey(known.id);
    const given = new Set(delegated?.map(familyOf) ?? rangeSets.map(({ family }) => family));
    this.#claims.check({ hostPorts: known.hostPorts, families: given });
    this.endRests(network);
    const allocations = this.#pools.allocate(network, { sets: rangeSets, requested, isOfNode });
    const { setKeys, ended } = this.#pools.take(network, { allocations, holder: key, isOfNode });
    for (const setKey of setKeys) this.#options.touch('last_given', [network, setKey]);
    for (const place of ended) this.#options.touch('rests', place);
    const addresses = delegated ?? allocations.map(keptAddress);
    const kept = this.#keep(key, {
      ...known,
      state: 'intent',
      addresses,
      ...(delegated === undefined ? {} : { isDelegated: true }),
    });
    const resting = new Set(allocations.filter(({ wasResting }) => wasResting).map(({ ip }) => ip));
    return { kept, undo: () => this.#removeAgain(kept, resting) };
  }

  /** What is so already: from the kernel or from another plugin's leases. @throws CniError (101, 106) with nothing changed */
  adopt(attachment: Attachment): Undoable {
    const key = this.#freeKey(attachment.id);
    this.#holdAll(key, attachment);
    const kept = this.#keep(key, attachment);
    return { kept, undo: () => this.#removeAgain(kept, new Set()) };
  }

  /** @throws CniError (3) when there is no such attachment */
  ready(id: AttachmentId, patch: ReadyPatch): Undoable {
    const key = attachmentKey(id);
    const before = this.#kept.get(key);
    if (before === undefined) throw new CniError(CODE.unknownContainer, `no attachment ${key} is known`);
    const earlier = copyOf(before);
    const kept = this.#replace(key, before, { ...earlier, ...patch, state: 'ready' });
    const undo = () => {
      if (this.#kept.get(key) === kept) this.#replace(key, kept, earlier);
    };
    return { kept, undo };
  }

  /** Its addresses rest. undefined when there is none. */
  release(id: AttachmentId): Attachment | undefined {
    const kept = this.get(id);
    if (kept === undefined) return undefined;
    const released = copyOf(kept);
    this.#remove(kept, ip => {
      this.#pools.rest(id.network, ip, this.#options.now());
      this.#options.touch('rests', [id.network, ip]);
    });
    this.endRests(id.network);
    return released;
  }

  /** Old host-local leases know no interface: they are every interface's. */
  get(id: AttachmentId): KeptAttachment | undefined {
    return this.#kept.get(attachmentKey(id)) ?? this.#kept.get(attachmentKey({ ...id, ifname: '' }));
  }

  values(): Iterable<Attachment> {
    return this.#kept.values();
  }

  get size(): number {
    return this.#kept.size;
  }

  holderOf(network: string, ip: string): Attachment | undefined {
    const key = this.#pools.networks.get(network)?.holderOf(ip);
    return key === undefined ? undefined : this.#kept.get(key);
  }

  /** Who has a port at an address that meets this one's, in one of the families. */
  holderOfPort(port: HostPort, families: ReadonlySet<IPFamily>): Attachment | undefined {
    const key = this.#claims.holderOf(port, families);
    return key === undefined ? undefined : this.#kept.get(key);
  }

  /** Whether each of these sets has an address to give. */
  hasAddresses(network: string, sets: readonly RangeSet[], isOfNode = false): boolean {
    const pool = this.#pools.giving(network, isOfNode);
    return sets.every(set => pool.hasAddress(set));
  }

  *rests(): Iterable<Rest> {
    for (const [network, pool] of this.#pools.networks) {
      for (const [ip, sinceMs] of pool.resting) yield { network, ip, sinceMs };
    }
  }

  /** Whether it rested. */
  endRest(network: string, ip: string): boolean {
    if (this.#pools.networks.get(network)?.restingSince(ip) === undefined) return false;
    this.#pools.free(network, ip);
    this.#options.touch('rests', [network, ip]);
    return true;
  }

  /** Those of this network that were long enough. */
  endRests(network: string): void {
    for (const ip of this.#pools.endRests(network, this.#options.now())) this.#options.touch('rests', [network, ip]);
  }

  /** From the journal. The earliest first; those of attachments don't count. */
  restAgain({ network, ip, sinceMs }: Rest): void {
    if (this.#pools.of(network).holderOf(ip) !== undefined) return;
    // A clock that is behind its own past is another one: the rest begins anew.
    this.#pools.rest(network, ip, Math.min(sinceMs, this.#options.now()));
  }

  /** From the journal: where the search goes on. */
  goOnBehind(network: string, setKey: string, ip: string): void {
    if (canonicalIP(ip) === ip) this.#pools.moveTo(network, setKey, ip);
  }

  /** What the journal should have there; without a value: no such row. */
  rowOf(table: BookTable, key: readonly string[]): BookRow {
    const value = this.#valueOf(table, key);
    return { table, key, ...(value === undefined ? {} : { value }) };
  }

  /** All that the journal should have. */
  *rows(): Iterable<BookRow> {
    for (const { id } of this.#kept.values()) yield this.rowOf('attachments', idColumns(id));
    for (const { network, ip, sinceMs } of this.rests()) yield { table: 'rests', key: [network, ip], value: sinceMs };
    for (const [network, pool] of this.#pools.networks) {
      for (const [setKey, ip] of pool.last) yield { table: 'last_given', key: [network, setKey], value: ip };
    }
  }

  #valueOf(table: BookTable, [network = '', second = '', ifname = '']: readonly string[]): string | number | undefined {
    if (table === 'rests') return this.#pools.networks.get(network)?.restingSince(second);
    if (table === 'last_given') return this.#pools.networks.get(network)?.lastOf(second);
    const kept = this.#kept.get(attachmentKey({ network, containerID: second, ifname }));
    return kept === undefined ? undefined : encodeAttachment(kept);
  }

  #freeKey(id: AttachmentId): string {
    const key = attachmentKey(id);
    if (this.#kept.has(key)) throw new CniError(CODE.exists, `attachment ${this.#describe(key)} exists already`);
    return key;
  }

  #holdAll(key: string, { id: { network }, addresses, isDelegated }: Attachment): void {
    const held: string[] = [];
    try {
      for (const address of isDelegated === true ? [] : addresses) {
        this.#pools.hold(network, addressOf(address), key);
        held.push(addressOf(address));
      }
    } catch (error) {
      for (const ip of held) this.#pools.free(network, ip);
      throw error;
    }
  }

  #keep(key: string, attachment: Attachment): KeptAttachment {
    const kept = new KeptAttachment(attachment, this.#texts);
    this.#kept.set(key, kept);
    this.#claims.claim(portsOf(kept), key);
    this.#touchAll(kept);
    return kept;
  }

  #replace(key: string, before: KeptAttachment, attachment: Attachment): KeptAttachment {
    const kept = new KeptAttachment(attachment, this.#texts);
    before.forget(this.#texts);
    this.#kept.set(key, kept);
    this.#touchAll(kept);
    return kept;
  }

  #removeAgain(made: Attachment, resting: ReadonlySet<string>): void {
    const { network } = made.id;
    const kept = this.#kept.get(attachmentKey(made.id));
    // Another one may have come since, with an identity of its own.
    if (kept?.id !== made.id) return;
    const pools = this.#pools;
    this.#remove(kept, ip =>
      resting.has(ip) ? pools.rest(network, ip, this.#options.now()) : pools.free(network, ip),
    );
  }

  #remove(kept: KeptAttachment, giveBack: (ip: string) => void): void {
    const key = attachmentKey(kept.id);
    this.#kept.delete(key);
    this.#claims.release(portsOf(kept), key);
    kept.forget(this.#texts);
    for (const address of kept.isDelegated === true ? [] : kept.addresses) giveBack(addressOf(address));
    this.#touchAll(kept);
  }

  #touchAll({ id, addresses }: Attachment): void {
    this.#options.touch('attachments', idColumns(id));
    for (const address of addresses) this.#options.touch('rests', [id.network, addressOf(address)]);
  }

  #describe(key: string): string {
    const kept = this.#kept.get(key);
    return kept === undefined ? key : attachmentText(kept);
  }
}

export function idColumns({ network, containerID, ifname }: AttachmentId): readonly string[] {
  return [network, containerID, ifname];
}

const familyOf = (address: KeptAddress): IPFamily => ipFamily(addressOf(address));

function portsOf({ hostPorts, addresses }: Attachment): PortsOfPod {
  return { hostPorts, families: new Set(addresses.map(familyOf)) };
}

function keptAddress({ ip, range }: Allocation): KeptAddress {
  return { address: `${ip}/${range.prefixLength}`, gateway: range.gateway };
}
