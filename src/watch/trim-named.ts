/** What trimming any object begins with: its name, and where its problems go. */
import { ownText } from '../text/own-text.ts';
import { childOf, EMPTY, type Fields, isPlainName, isRecord } from './fields.ts';
import { objectKey, type Problem } from './objects.ts';

/** What is left of a raw object. */
export interface Trimmed<T> {
  /** namespace/name; undefined when the raw object has no name. */
  readonly key: string | undefined;
  /** undefined when there is nothing to serve: no such object, or one that isn't for us. */
  readonly object?: T;
  readonly problems: readonly Problem[];
}

interface Metadata {
  readonly namespace: string;
  readonly name: string;
  readonly fields: Fields;
}

/** Reads an object that has a name; `kind` is how its problems name it. */
export function trimNamed<T>(
  kind: string,
  raw: unknown,
  read: (fields: Fields, metadata: Metadata) => T | undefined,
): Trimmed<T> {
  const problems: Problem[] = [];
  const source = isRecord(raw) ? raw : {};
  const metadata = isRecord(source.metadata) ? source.metadata : {};
  const { name, namespace } = metadata;
  if (typeof name !== 'string' || name === '') {
    const object = typeof namespace === 'string' && namespace !== '' ? `${kind} ${namespace}/` : kind;
    return { key: undefined, problems: [{ object, field: 'metadata.name', message: 'has no name: not an object' }] };
  }
  if (!isPlainName(name) || (typeof namespace === 'string' && namespace !== '' && !isPlainName(namespace))) {
    const field = isPlainName(name) ? 'metadata.namespace' : 'metadata.name';
    const message = `${JSON.stringify(field === 'metadata.name' ? name : namespace)} is not a name that the API allows`;
    return { key: undefined, problems: [{ object: `${kind} ${JSON.stringify(name)}`, field, message }] };
  }
  const identity = { namespace: typeof namespace === 'string' ? ownText(namespace) : '', name: ownText(name) };
  const key = objectKey(identity);
  const fields = { raw: source, path: '', object: `${kind} ${key}`, problems };
  const object = read(fields, { ...identity, fields: childOf(fields, 'metadata') });
  const found = problems.length === 0 ? EMPTY : problems;
  return object === undefined ? { key, problems: found } : { key, object, problems: found };
}
