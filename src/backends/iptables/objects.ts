import { ownText } from '../../text/own-text.ts';
import { isServiceChain } from './names.ts';

/**
 * The kernel objects of the iptables backend. Rules are text in the form that iptables-save prints, so that what was planned
 * and what was read compare as text.
 */
export type Table = 'filter' | 'nat';

export type IptablesObject =
  /** A chain that is ours as a whole. `rules`: one rule a line, without the leading `-A NAME`. */
  | { readonly kind: 'chain'; readonly table: Table; readonly name: string; readonly rules: string }
  /** A chain with an entry per Service; each entry is an object of its own, so that one change doesn't resend them all. */
  | { readonly kind: 'dispatch'; readonly table: Table; readonly name: string }
  /** One rule of a dispatch chain or of a built-in chain. */
  | { readonly kind: 'rule'; readonly table: Table; readonly chain: string; readonly rule: string };

/**
 * The key of an object in a Plan: the chain's name where that says the table (chains of Services and endpoints, which are
 * nearly all), else `filter/KUBE-FORWARD`; for a rule, its text after that.
 */
export function objectKey(object: IptablesObject): string {
  if (object.kind === 'rule') return ownText(`${object.table}/${object.chain} ${object.rule}`);
  return isServiceChain(object.name) ? object.name : `${object.table}/${object.name}`;
}

/** Objects by key. */
export function byKey(objects: Iterable<IptablesObject>): Map<string, IptablesObject> {
  const map = new Map<string, IptablesObject>();
  for (const object of objects) map.set(objectKey(object), object);
  return map;
}

/** A chain that is ours as a whole. */
export function chain(table: Table, name: string, rules: readonly string[]): IptablesObject {
  return { kind: 'chain', table, name, rules: rules.join('\n') };
}

/** One rule of a chain that others have rules in too. */
export function entry(table: Table, chainName: string, text: string): IptablesObject {
  return { kind: 'rule', table, chain: chainName, rule: text };
}
