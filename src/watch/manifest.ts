import { type Document, LineCounter, parseAllDocuments } from 'yaml';
import { isRecord } from './fields.ts';
import type { Kind, ObjectByKind, Problem } from './objects.ts';
import { TRIMMERS } from './trim.ts';
import type { Trimmed } from './trim-named.ts';

/** One object of a manifest file; its problems name the file. */
export type ManifestObject = {
  [K in Kind]: {
    readonly kind: K;
    /** `services.yaml, document 2` */
    readonly place: string;
    readonly trimmed: Trimmed<ObjectByKind[K]>;
  };
}[Kind];

/** What a manifest file says. */
export interface Manifest {
  readonly objects: readonly ManifestObject[];
  /** Kinds in the file that are not for us, as `apps/v1 Deployment`. */
  readonly ignored: readonly string[];
}

/** Why a whole file cannot be used. `field` says where in it: `document 2, line 14`. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}

interface Part {
  readonly raw: unknown;
  /** From 1. */
  readonly number: number;
  /** The line of a path within the document; undefined when there is none. */
  readonly lineOf: (path: readonly (string | number)[]) => number | undefined;
}

const API_VERSIONS: { readonly [K in Kind]: string } = {
  Service: 'v1',
  EndpointSlice: 'discovery.k8s.io/v1',
  Node: 'v1',
  ServiceCIDR: 'networking.k8s.io/v1',
  Namespace: 'v1',
  Pod: 'v1',
};

const WITHOUT_NAMESPACE: ReadonlySet<Kind> = new Set(['Node', 'ServiceCIDR', 'Namespace']);

function isKind(kind: string): kind is Kind {
  return Object.hasOwn(API_VERSIONS, kind);
}

function lineFinder(document: Document, lines: LineCounter): Part['lineOf'] {
  return path => {
    const node: unknown = document.getIn(path, true);
    if (typeof node !== 'object' || node === null || !('range' in node) || !Array.isArray(node.range)) return undefined;
    return lines.linePos(Number(node.range[0])).line;
  };
}

function parseYaml(text: string): Part[] {
  const lines = new LineCounter();
  // Merge keys (<<) are YAML 1.1, but kubectl takes them; without prettyErrors the messages are one line each.
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, merge: true });
  if ('empty' in documents) return [];
  return documents.map((document, index) => {
    const [error] = document.errors;
    const field = `document ${index + 1}`;
    if (error !== undefined)
      throw new ManifestError(`${field}, line ${lines.linePos(error.pos[0]).line}`, error.message);
    try {
      return { raw: document.toJS() as unknown, number: index + 1, lineOf: lineFinder(document, lines) };
    } catch (error) {
      // Aliases that lead nowhere or into themselves without end.
      throw new ManifestError(field, error instanceof Error ? error.message : String(error));
    }
  });
}

function parseJson(text: string): Part[] {
  try {
    return text.trim() === '' ? [] : [{ raw: JSON.parse(text) as unknown, number: 1, lineOf: () => undefined }];
  } catch (error) {
    throw new ManifestError('document 1', error instanceof Error ? error.message : String(error));
  }
}

/** `spec.ports[0].port` as the parts of a path. A key with a dot in it comes apart wrongly: then no line is found. */
function splitPath(field: string): (string | number)[] {
  return field.split(/[.[\]]/).flatMap(part => (part === '' ? [] : [/^\d+$/.test(part) ? Number(part) : part]));
}

function placedProblem(problem: Problem, place: string, path: string, part: Part): Problem {
  const line = part.lineOf(splitPath(`${path}${problem.field}`));
  const message = line === undefined ? problem.message : `${problem.message} (line ${line})`;
  return { object: problem.object, field: `${place}, ${path}${problem.field}`, message };
}

/** Objects without a namespace are in `default`, as kubectl has it. */
function withNamespace(kind: Kind, raw: Readonly<Record<string, unknown>>): unknown {
  if (WITHOUT_NAMESPACE.has(kind) || !isRecord(raw.metadata)) return raw;
  return { ...raw, metadata: { ...raw.metadata, namespace: raw.metadata.namespace ?? 'default' } };
}

/** Reads the objects of one manifest file. */
class ManifestReader {
  readonly objects: ManifestObject[] = [];
  readonly ignored = new Set<string>();
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  /** `path` leads from the document to the object: '' or `items[3].`; `assumed` is what items of a typed list may omit. */
  read(part: Part, raw: unknown, path: string, assumed?: { kind: string; apiVersion: string }): void {
    if (raw === null || raw === undefined) return;
    if (!isRecord(raw)) throw new ManifestError(`document ${part.number}`, `${path}no object with fields`);
    const kind = raw.kind ?? assumed?.kind;
    if (typeof kind !== 'string') throw new ManifestError(`document ${part.number}, ${path}kind`, 'is missing');
    const apiVersion = typeof raw.apiVersion === 'string' ? raw.apiVersion : assumed?.apiVersion;
    if (Array.isArray(raw.items) && kind.endsWith('List')) {
      const itemKind = kind.slice(0, -'List'.length);
      const itemDefaults = itemKind === '' ? undefined : { kind: itemKind, apiVersion: apiVersion ?? '' };
      for (const [index, item] of raw.items.entries()) this.read(part, item, `${path}items[${index}].`, itemDefaults);
    } else if (isKind(kind) && (apiVersion ?? API_VERSIONS[kind]) === API_VERSIONS[kind])
      this.#add(part, kind, raw, path);
    else this.ignored.add(`${apiVersion ?? ''} ${kind}`.trim());
  }

  #add<K extends Kind>(part: Part, kind: K, raw: Readonly<Record<string, unknown>>, path: string): void {
    const place = `${this.#file}, document ${part.number}`;
    const found = TRIMMERS[kind](withNamespace(kind, raw));
    const problems = found.problems.map(problem => placedProblem(problem, place, path, part));
    this.objects.push({ kind, place, trimmed: { ...found, problems } } as ManifestObject);
  }
}

/**
 * Reads a manifest file: YAML with any number of documents, or JSON; single objects and Lists. Throws a ManifestError when
 * the file as a whole makes no sense; what is wrong with one object is among its problems.
 */
export function parseManifest(file: string, text: string): Manifest {
  const reader = new ManifestReader(file);
  for (const part of file.endsWith('.json') ? parseJson(text) : parseYaml(text)) reader.read(part, part.raw, '');
  return { objects: reader.objects, ignored: [...reader.ignored] };
}
