import {
  type DocumentOptions,
  isScalar,
  LineCounter,
  type ParsedNode,
  type ParseOptions,
  parseAllDocuments,
  type SchemaOptions,
  type Document as YAMLDocument,
  type YAMLParseError,
} from 'yaml';
import { ConfigurationError } from './error.ts';

/**
 * Go's YAML, which kube-proxy reads with, is 1.1: `yes` and `on` are true, `010` is eight. But it has no numbers with colons in them
 * (`10:30`) and, in JSON's terms, no times.
 */
const GO_YAML: Pick<ParseOptions & DocumentOptions & SchemaOptions, 'version' | 'merge' | 'customTags'> = {
  version: '1.1',
  merge: true,
  customTags: tags => tags.filter(tag => typeof tag === 'string' || !(tag.format === 'TIME' || tag.tag === TIMESTAMP)),
};
const TIMESTAMP = 'tag:yaml.org,2002:timestamp';

/** What a file holds, and a line for each thing in it that somebody may have meant otherwise. */
export interface ReadDocuments {
  readonly documents: readonly Document[];
  readonly warnings: readonly string[];
}

/** One YAML document of a file, by position (the first is 1); `fields` has no nulls, which mean "not set" as in Go. */
export interface Document {
  readonly position: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

/**
 * Splits a file into its documents, leaving out empty ones. A key that stands twice has its last value, with a warning: kube-proxy's
 * strict decoder refuses it, and the lenient one that follows takes it so.
 * @throws ConfigurationError with the line of what isn't YAML, or the position of a document that isn't a mapping.
 */
export function readDocuments(text: string, source: string): ReadDocuments {
  const lines = new LineCounter();
  const twice = new Map<string, string>();
  const noteTwice = (earlier: ParsedNode, later: ParsedNode) => {
    if (!isScalar(earlier) || !isScalar(later) || earlier.value !== later.value || later.value === '<<') return false;
    const at = `line ${lines.linePos(later.range[0]).line}: ${String(later.value)}`;
    twice.set(at, `${at} stands twice in its mapping; the last one counts`);
    return false; // Not an error.
  };
  const parsed = [...parseAllDocuments(text, { ...GO_YAML, lineCounter: lines, uniqueKeys: noteTwice })];
  const errors = parsed.flatMap(document => document.errors);
  if (errors.length > 0) throw new ConfigurationError(source, errors.map(syntaxProblem));
  const documents = parsed
    .map((document, index) => ({ position: index + 1, fields: withoutNulls(decode(document, source)) }))
    .filter(({ fields }) => fields !== undefined)
    .map(({ position, fields }) => {
      if (isMapping(fields)) return { position, fields };
      throw new ConfigurationError(source, [{ path: `document ${position}`, message: 'must be a mapping of fields' }]);
    });
  return { documents, warnings: [...twice.values()] };
}

function decode(document: Pick<YAMLDocument, 'toJS'>, source: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    // An alias without its anchor, or so many of them that the value would fill the memory.
    const message = error instanceof Error ? error.message : String(error);
    throw new ConfigurationError(source, [{ path: '', message }], { cause: error });
  }
}

function syntaxProblem(error: YAMLParseError) {
  const message = error.message.replace(/ at line \d+, column \d+:.*$/s, '');
  const [start] = error.linePos ?? [];
  return { path: start === undefined ? '' : `line ${start.line}, column ${start.col}`, message };
}

/** Whether a value of YAML is a mapping. */
export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function withoutNulls(value: unknown): unknown {
  if (value === null) return undefined;
  if (!isMapping(value)) return value;
  const fields = Object.entries(value).map(([key, inner]) => [key, withoutNulls(inner)] as const);
  return Object.fromEntries(fields.filter(([, inner]) => inner !== undefined));
}
