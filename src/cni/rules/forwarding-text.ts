/** iptables' table filter as text: where the acceptance of pods' packets is, and how it gets there. Pure. */
import { FORWARD_CHAIN } from './names.ts';

const COMMENT = '-m comment --comment "kproxy-ts: pods of this node"';
const JUMP = `-A FORWARD ${COMMENT} -j ${FORWARD_CHAIN}`;

export interface ForwardTable {
  /** `DROP` …; undefined where there is no chain FORWARD. */
  readonly policy: string | undefined;
  /** Rules of FORWARD, in their order, as iptables-save prints them. */
  readonly rules: readonly string[];
  /** Of our chain; undefined where it isn't there. */
  readonly own: readonly string[] | undefined;
}

/** What `iptables-save -t filter` printed. */
export function parseForward(text: string): ForwardTable {
  const lines = text.split('\n');
  const policy = /^:FORWARD (\S+)/m.exec(text)?.[1];
  const isThere = lines.some(line => line.startsWith(`:${FORWARD_CHAIN} `));
  return {
    policy,
    rules: lines.filter(line => line.startsWith('-A FORWARD ')),
    own: isThere ? lines.filter(line => line.startsWith(`-A ${FORWARD_CHAIN} `)) : undefined,
  };
}

/** Whether anything else than acceptance may come of a packet that is forwarded. */
export function decidesAnything({ policy, rules }: ForwardTable): boolean {
  return policy === 'DROP' || rules.some(rule => !isJump(rule));
}

/** Packets from pods and to them, whatever else their FORWARD chain would make of them in the end. */
export function acceptanceRules(bridges: readonly string[]): string[] {
  return bridges.flatMap(bridge => [
    `-A ${FORWARD_CHAIN} -i ${bridge} -j ACCEPT`,
    `-A ${FORWARD_CHAIN} -o ${bridge} -j ACCEPT`,
  ]);
}

/**
 * Input of `iptables-restore --noflush`, '' where nothing is to be done. What others decide comes first, so that their refusals count; what drops all the rest (the
 * policy, or a rule without conditions) comes behind.
 */
export function acceptanceText(table: ForwardTable, bridges: readonly string[]): string {
  const wanted = acceptanceRules(bridges);
  const jumps = table.rules.filter(isJump);
  const others = table.rules.filter(rule => !isJump(rule));
  const end = others.findIndex(refusesAll);
  const isInPlace = jumps.length === 1 && (end === -1 || table.rules.findIndex(isJump) <= end);
  if (isInPlace && table.own !== undefined && sameLines(table.own, wanted)) return '';
  const place = end === -1 ? JUMP : JUMP.replace('-A FORWARD', `-I FORWARD ${end + 1}`);
  return restoreText([`:${FORWARD_CHAIN} - [0:0]`, ...wanted, ...(isInPlace ? [] : [...jumps.map(deletion), place])]);
}

/** Takes all of it away; '' where nothing is. */
export function removalText({ rules, own }: ForwardTable): string {
  const jumps = rules.filter(isJump);
  if (own === undefined) return '';
  return restoreText([`:${FORWARD_CHAIN} - [0:0]`, ...jumps.map(deletion), `-X ${FORWARD_CHAIN}`]);
}

function restoreText(lines: readonly string[]): string {
  return ['*filter', ...lines, 'COMMIT', ''].join('\n');
}

function isJump(rule: string): boolean {
  return rule.endsWith(`-j ${FORWARD_CHAIN}`);
}

function deletion(rule: string): string {
  return rule.replace('-A ', '-D ');
}

/** A rule without conditions that ends with a refusal. */
function refusesAll(rule: string): boolean {
  return /^-A FORWARD -j (?:DROP|REJECT)\b/.test(rule);
}

function sameLines(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, i) => line === b[i]);
}
