import type { Mapping } from './document-check.ts';
import { isMapping } from './documents.ts';
import { parseDurationMs } from './duration.ts';
import type { ConfigurationProblem } from './error.ts';
import { FIELD_FLAGS, type FlagKind, type GivenFlags, OTHER_FLAGS } from './flags.ts';

/** As Go's strconv.ParseBool, which pflag uses. */
const BOOLEANS: Readonly<Record<string, boolean>> = {
  1: true,
  t: true,
  T: true,
  true: true,
  TRUE: true,
  True: true,
  0: false,
  f: false,
  F: false,
  false: false,
  FALSE: false,
  False: false,
};

/**
 * The value that a text stands for, as YAML would give it. What can't be read stays text: the check of the document says then
 * what the field must be.
 */
const READ: Readonly<Record<FlagKind, (text: string) => unknown>> = {
  text: text => text,
  duration: text => text,
  period: text => text,
  number: text => (/^[-+]?\d+(?:\.\d+)?$/.test(text) ? Number(text) : text),
  boolean: text => BOOLEANS[text] ?? text,
  list: text => (text === '' ? [] : text.split(',')),
  gates: text => {
    const gates = pairs(text, gate => {
      const [, name, value = ''] = /^\s*([^=]+?)\s*=\s*(\w+)\s*$/.exec(gate) ?? [];
      return name === undefined ? undefined : ([name, BOOLEANS[value] ?? value] as const);
    });
    return gates === undefined ? text : Object.fromEntries(gates);
  },
  vmodule: text =>
    pairs(text, item => {
      const [, filePattern, verbosity] = /^([^=]+)=(\d+)$/.exec(item) ?? [];
      return filePattern === undefined ? undefined : { filePattern, verbosity: Number(verbosity) };
    }) ?? text,
};

/** The items of a comma-separated list; undefined when one can't be read. */
function pairs<Item extends object>(text: string, read: (part: string) => Item | undefined): Item[] | undefined {
  const parts = text.split(',').filter(part => part.trim() !== '');
  const items = parts.map(read).filter(item => item !== undefined);
  return items.length === parts.length ? items : undefined;
}

/** A document with what these flags say; `isBesideFile` takes only those that hold when --config is given. */
export function withFlags(document: Mapping, given: GivenFlags, { isBesideFile = false } = {}): Mapping {
  return FIELD_FLAGS.reduce((result, flag) => {
    const text = given[flag.name];
    if (text === undefined || (isBesideFile && flag.isBesideFile !== true)) return result;
    const fields = flag.nftablesField === undefined ? [flag.field] : [flag.field, flag.nftablesField];
    const value = READ[flag.kind](text);
    return fields.reduce((document, field) => withValue(document, field.split('.'), value), result);
  }, document);
}

function withValue(document: Mapping, [name = '', ...rest]: readonly string[], value: unknown): Mapping {
  const inner = document[name];
  return { ...document, [name]: rest.length === 0 ? value : withValue(isMapping(inner) ? inner : {}, rest, value) };
}

/** What is wrong with flags beyond what their fields say. */
export function flagProblems(given: GivenFlags): ConfigurationProblem[] {
  const problems: ConfigurationProblem[] = FIELD_FLAGS.filter(({ kind }) => kind === 'period').flatMap(({ name }) =>
    // In the file 0 means "not set"; a flag that is given is set (validation.go: must be greater than 0).
    parseDurationMs(given[name] ?? '') === 0 ? [{ path: `--${name}`, message: 'must be greater than 0' }] : [],
  );
  const { master = '', 'hostname-override': hostname = '' } = given;
  if (hostname !== '' && hostname.trim() === '') {
    problems.push({ path: '--hostname-override', message: 'must have a name, is empty' });
  }
  if (master !== '' && !/^https?:$/.test(protocolOf(master))) {
    const message = `must be a URL such as https://10.0.0.1:6443, is ${JSON.stringify(master)}`;
    problems.push({ path: '--master', message });
  }
  return problems;
}

function protocolOf(url: string): string {
  return URL.canParse(url) ? new URL(url).protocol : '';
}

/** Names of given flags that the file takes the place of, because --config is given. */
export function ignoredFlags(given: GivenFlags): string[] {
  return [...FIELD_FLAGS, ...OTHER_FLAGS]
    .filter(({ name, isBesideFile }) => given[name] !== undefined && isBesideFile !== true)
    .map(({ name }) => `--${name}`);
}

/** A line for each given flag that means something else in kube-proxy, or nothing. */
export function flagWarnings(given: GivenFlags): string[] {
  const deprecated = ['healthz', 'metrics'].filter(server => given[`${server}-port`] !== undefined);
  const empty = ['healthz', 'metrics'].filter(server => given[`${server}-bind-address`] === '');
  return [
    ...deprecated.map(server => {
      const offered = `--${server}-port is deprecated and has no effect: use --${server}-bind-address`;
      return given[`${server}-port`] === '0' ? `${offered}; the ${server} server cannot be turned off` : offered;
    }),
    ...empty.map(
      server => `--${server}-bind-address is empty, but the ${server} server cannot be turned off: it has its default`,
    ),
  ];
}
