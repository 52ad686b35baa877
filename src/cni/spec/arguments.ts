/** CNI_ARGS: `KEY=VALUE;KEY=VALUE`. Pure. */
import { CniError, CODE } from '../types.ts';

export type Arguments = Readonly<Record<string, string>>;

const KNOWN: ReadonlySet<string> = new Set([
  'IP',
  'MAC',
  'IgnoreUnknown',
  'K8S_POD_NAMESPACE',
  'K8S_POD_NAME',
  'K8S_POD_INFRA_CONTAINER_ID',
  'K8S_POD_UID',
]);

/** The last of several with one key counts. @throws CniError 4: no pair, or a key that nobody knows without IgnoreUnknown */
export function readArguments(text: string): Arguments {
  const pairs = pairsOf(text);
  const broken = pairs.find(({ key }) => key === '');
  if (broken !== undefined) throw wrong(`${JSON.stringify(broken.text)} is no KEY=VALUE`);
  const args = together(pairs);
  const unknown = Object.keys(args).filter(key => !KNOWN.has(key));
  if (unknown.length > 0 && !ignoresUnknown(args.IgnoreUnknown ?? ''))
    throw wrong(`unknown ${unknown.join(', ')} (IgnoreUnknown=1 allows it)`);
  return args;
}

/** For DEL, which must not fail because of them: what can be read. */
export function readableArguments(text: string): Arguments {
  return together(pairsOf(text).filter(({ key }) => key !== ''));
}

interface Pair {
  readonly text: string;
  /** '' when this is no pair. */
  readonly key: string;
  readonly value: string;
}

function pairsOf(all: string): Pair[] {
  return all
    .split(';')
    .filter(text => text !== '')
    .map(text => {
      const end = Math.max(text.indexOf('='), 0);
      return { text, key: text.slice(0, end), value: text.slice(end + 1) };
    });
}

const together = (pairs: readonly Pair[]): Arguments => Object.fromEntries(pairs.map(({ key, value }) => [key, value]));

function ignoresUnknown(text: string): boolean {
  const value = text.toLowerCase();
  if (value === '1' || value === 'true') return true;
  if (value === '' || value === '0' || value === 'false') return false;
  throw wrong(`IgnoreUnknown=${text} is neither true nor false`);
}

const wrong = (problem: string) => new CniError(CODE.badEnvironment, `CNI_ARGS: ${problem}`);
