/** What the kernel tells of our table, as the objects of a Plan. Pure; the reverse of elements.ts and render.ts. */

import { addressText } from '../../net/address-bytes.ts';
import type { IPFamily } from '../../net/ip.ts';
import { attributesIn, type Message, readHostWord, textOf } from '../../netfilter/attributes.ts';
import { readExpressions, type Verdict } from '../../netfilter/expressions.ts';
import { commentOf, readElements, readSet } from '../../netfilter/message-reading.ts';
import { type BaseChain, type Element, SET } from '../../netfilter/messages.ts';
import type { Plan } from '../backend.ts';
import { endpointOfBytes, frontendOfBytes } from './bytes.ts';
import { affinityMapOf, INSIDE_SLOTS, isMembersSet, SETS, TABLE } from './names.ts';
import {
  byKey,
  type Frontend,
  type FrontendAddress,
  frontendKey,
  type NftObject,
  type PlannedRule,
} from './objects.ts';
import { OnceEach, TornDumpError } from './once-each.ts';
import { rangeText } from './source-ranges.ts';

/** NFT_TABLE_F_DORMANT */
const DORMANT = 1;

export interface Dumps {
  readonly tables: readonly Message[];
  readonly chains: readonly Message[];
  readonly rules: readonly Message[];
  readonly sets: readonly Message[];
  /** Of each set whose elements are ours. */
  readonly elements: readonly Message[];
}

/** Chains and sets first, as in a plan. Throws TornDumpError. */
export function parseTable({ tables, chains, rules, sets, elements }: Dumps, family: IPFamily): Plan<NftObject> {
  const reading = new ElementReading(family);
  const once = new OnceEach();
  for (const message of elements) {
    const { set, elements: list } = readElements(message);
    for (const element of list) {
      if (!once.isFirst(set, element)) throw new TornDumpError(set);
      reading.take(set, element);
    }
  }
  const specs = sets.map(readSet);
  // A set of endpoints without any is one all the same.
  for (const { name } of specs) if (isMembersSet(name)) reading.membersOf(name);
  const setObjects = specs.map((spec): NftObject => ({ kind: 'set', spec }));
  return byKey([...tablesOf(tables), ...setObjects, ...chainsOf(chains, rulesByChain(rules)), ...reading.objects()]);
}

function tablesOf(messages: readonly Message[]): NftObject[] {
  const ours = messages.map(({ payload }) => attributesIn(payload)).filter(parts => textAt(parts, 1) === TABLE);
  return ours.map((parts): NftObject => ({ kind: 'table', isDormant: parts.get(2)?.readUInt32BE(0) === DORMANT }));
}

function chainsOf(messages: readonly Message[], rules: ReadonlyMap<string, readonly PlannedRule[]>): NftObject[] {
  const ours = messages.map(({ payload }) => attributesIn(payload)).filter(parts => textAt(parts, 1) === TABLE);
  return ours.map((parts): NftObject => {
    const name = textAt(parts, 3);
    const base = baseOf(parts);
    return { kind: 'chain', name, ...(base === undefined ? {} : { base }), rules: rules.get(name) ?? [] };
  });
}

/** Names of the sets whose elements are ours; the kernel itself fills the others. */
export function setsWithElements(sets: readonly Message[]): string[] {
  return sets
    .map(readSet)
    .filter(({ flags }) => (flags & SET.dynamic) === 0)
    .map(({ name }) => name);
}

function rulesByChain(messages: readonly Message[]): Map<string, PlannedRule[]> {
  const found = new Map<string, PlannedRule[]>();
  for (const { payload } of messages) {
    const parts = attributesIn(payload);
    if (textAt(parts, 1) !== TABLE) continue;
    const chain = textAt(parts, 2);
    const list = found.get(chain) ?? [];
    found.set(chain, list);
    list.push(ruleOf(parts));
  }
  return found;
}

/** A rule with an expression that we never write is one without any: it can't be a planned one. */
function ruleOf(parts: Map<number, Buffer>): PlannedRule {
  const comment = commentOf(parts.get(7));
  const told = comment === undefined ? {} : { comment };
  try {
    return { expressions: readExpressions(parts.get(4) ?? Buffer.alloc(0)), ...told };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { expressions: [], ...told };
  }
}

function baseOf(parts: Map<number, Buffer>): BaseChain | undefined {
  const hook = parts.get(4);
  if (hook === undefined) return undefined;
  const values = attributesIn(hook);
  const type = textAt(parts, 7) === 'nat' ? 'nat' : 'filter';
  const policy = parts.get(5)?.readUInt32BE(0) === 0 ? { policy: 'drop' as const } : {};
  return { type, hook: values.get(1)?.readUInt32BE(0) ?? -1, priority: values.get(2)?.readInt32BE(0) ?? 0, ...policy };
}

function textAt(parts: Map<number, Buffer>, type: number): string {
  const value = parts.get(type);
  return value === undefined ? '' : textOf(value);
}

/** Far more than a Service may have; a list is made of them. */
const MOST_SLOTS = 2 ** 20;

type Draft = { -readonly [F in keyof Frontend]: Frontend[F] } & { endpoints: string[] };

/** Gathers the elements of all sets by the object that they carry. */
class ElementReading {
  readonly #family: IPFamily;
  readonly #frontends = new Map<string, Draft>();
  readonly #inside = new Map<string, { chain?: string; endpoints: string[] }>();
  readonly #lists = new Map<string, { allowed: string[]; hairpins: string[] }>();
  readonly #members = new Map<string, string[]>();
  readonly #others: NftObject[] = [];

  constructor(family: IPFamily) {
    this.#family = family;
  }

  take(set: string, element: Element): void {
    if (this.#takeKnown(set, element)) return;
    const { key, keyEnd } = element;
    this.#others.push({ kind: 'strange', set, key, ...(keyEnd === undefined ? {} : { keyEnd }) });
  }

  /** The endpoints in a set of them, to be added to. */
  membersOf(set: string): string[] {
    const found = this.#members.get(set) ?? [];
    this.#members.set(set, found);
    return found;
  }

  *objects(): Iterable<NftObject> {
    for (const [key, draft] of this.#frontends) {
      const inside = this.#inside.get(key);
      const { allowed = [], hairpins = [] } = this.#lists.get(key) ?? {};
      yield {
        ...draft,
        endpoints: filled(draft.endpoints),
        ...(inside === undefined ? {} : { inside: { ...inside, endpoints: filled(inside.endpoints) } }),
        ...(allowed.length === 0 ? {} : { allowed: allowed.toSorted() }),
        ...(hairpins.length === 0 ? {} : { hairpins: hairpins.toSorted() }),
      };
    }
    for (const [set, endpoints] of this.#members) {
      yield { kind: 'members', set, map: affinityMapOf(set), endpoints: endpoints.toSorted() };
    }
    yield* this.#others;
  }

  /** Whether the element is of a form that we write. */
  #takeKnown(set: string, element: Element): boolean {
    const { key, comment = '' } = element;
    if (isMembersSet(set)) {
      this.membersOf(set).push(endpointOfBytes(key));
      return true;
    }
    switch (set) {
      case SETS.clusterIPs:
        this.#others.push({ kind: 'cluster-ip', ip: addressText(key), service: comment });
        return true;
      case SETS.endpoints:
        return this.#takeEndpoint(element);
      case SETS.allowed:
        return this.#takeAllowed(element);
      case SETS.hairpins:
        return this.#takeHairpin(key);
      default:
        return this.#takeTarget(set, element);
    }
  }

  #takeEndpoint({ key, data }: Element): boolean {
    const where = this.#whereOf(key);
    if (where === undefined || !(data instanceof Uint8Array)) return false;
    const slot = readHostWord(key, key.length - 4);
    if (slot % INSIDE_SLOTS >= MOST_SLOTS) return false;
    const endpoint = endpointOfBytes(data);
    if (slot < INSIDE_SLOTS) this.#frontend(where).endpoints[slot] = endpoint;
    else this.#insideOf(where).endpoints[slot - INSIDE_SLOTS] = endpoint;
    return true;
  }

  #takeAllowed({ key, keyEnd }: Element): boolean {
    const where = this.#whereOf(key);
    const width = this.#family === 'IPv4' ? 4 : 16;
    const range = keyEnd === undefined ? undefined : rangeText(key.subarray(-width), keyEnd.subarray(-width));
    if (where === undefined || range === undefined) return false;
    this.#listsOf(where).allowed.push(range);
    return true;
  }

  #takeHairpin(key: Buffer): boolean {
    const width = this.#family === 'IPv4' ? 4 : 16;
    const where = this.#whereOf(key.subarray(2 * width));
    const client = key.subarray(0, width);
    if (where === undefined || !client.equals(key.subarray(width, 2 * width))) return false;
    this.#listsOf(where).hairpins.push(addressText(client));
    return true;
  }

  #takeTarget(set: string, { key, data, comment }: Element): boolean {
    const where = this.#whereOf(key);
    if (where === undefined || data === undefined || data instanceof Uint8Array) return false;
    const target = targetOf(data);
    const frontend = this.#frontend(where);
    if (set === SETS.services) frontend.chain = target;
    else if (set === SETS.refused) frontend.refusal = target;
    else if (set === SETS.external) frontend.source = target;
    else if (set === SETS.learners) frontend.learner = target;
    else if (set === SETS.inside) this.#insideOf(where).chain = target;
    else return false;
    if (comment !== undefined) frontend.service = comment;
    return true;
  }

  #whereOf(bytes: Buffer): FrontendAddress | undefined {
    return frontendOfBytes(bytes, this.#family);
  }

  #frontend(where: FrontendAddress): Draft {
    const key = frontendKey(where);
    const found = this.#frontends.get(key) ?? { kind: 'frontend', where, service: '', endpoints: [] };
    this.#frontends.set(key, found);
    return found;
  }

  #insideOf(where: FrontendAddress): { chain?: string; endpoints: string[] } {
    this.#frontend(where);
    const key = frontendKey(where);
    const found = this.#inside.get(key) ?? { endpoints: [] };
    this.#inside.set(key, found);
    return found;
  }

  #listsOf(where: FrontendAddress): { allowed: string[]; hairpins: string[] } {
    this.#frontend(where);
    const key = frontendKey(where);
    const found = this.#lists.get(key) ?? { allowed: [], hairpins: [] };
    this.#lists.set(key, found);
    return found;
  }
}

/** Where a verdict leads; one that isn't ours gets a text that no chain has. */
function targetOf({ kind, chain }: Verdict): string {
  return kind === 'goto' && chain !== undefined ? chain : `(${kind})`;
}

/** Without holes, which a list of slots has where somebody deleted an element. */
function filled(slots: readonly string[]): string[] {
  return Array.from(slots, text => text ?? '');
}
