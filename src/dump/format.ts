import type { ServicePortName } from '../endpoints/types.ts';
import type { DumpRule, DumpRules, DumpServicePort } from './state.ts';

/** An object as people read it, or what one chain or set has of it. */
export interface ObjectText {
  readonly table: string;
  /** The chain, or the map or set, that it is or is in. */
  readonly chain: string;
  /** One for each rule or element; [''] for an object of which its name is all there is to say. */
  readonly lines: readonly string[];
}

export interface OwnedObjects<O> {
  readonly name: ServicePortName;
  readonly objects: O[];
}

export interface Ownership<O> {
  /** By servicePortKey. */
  readonly owned: ReadonlyMap<string, OwnedObjects<O>>;
  /** Shared, or of nobody known. */
  readonly rest: readonly O[];
}

/** A ServicePort without its name and rules. */
export type DescribedService = Omit<DumpServicePort, keyof ServicePortName | keyof DumpRules>;

/** How the objects of a mode are shown, and what they say by themselves, whoever wrote them. Pure. */
export interface DumpFormat<O> {
  /** What is in one chain or set is one text. */
  textsOf(object: O): readonly ObjectText[];
  /** Where a packet meets a rule, the least first; rules of the same rank stay as they are. */
  rankOf(rule: Pick<DumpRule, 'table' | 'chain'>): number;
  /** Which ServicePort each object in the kernel belongs to, as far as the objects tell. */
  groupByOwner(objects: Iterable<O>): Ownership<O>;
  /** What rules of one ServicePort say about it. */
  describe(rules: readonly DumpRule[]): DescribedService;
  /** Whether an object that nobody plans is left over from one that was, and may wait for the next full sync. Absent where there is no such thing. */
  isLeftOver?(object: O): boolean;
  /** Of the shared rules of a kernel that has some, those that lack and without which the Services' are never reached. */
  lost(shared: readonly DumpRule[]): readonly DumpRule[];
}
