/** What checking a document has in common for every kind of document: its problems in words, unknown fields, leaves. */
import type * as z from 'zod/mini';
import { isMapping } from './documents.ts';
import { type ConfigurationProblem, pathText } from './error.ts';

export type Mapping = Readonly<Record<string, unknown>>;

/** The names of a document's fields: those at its top, and those in each of its sections. */
export interface FieldNames {
  readonly topLevel: Mapping;
  readonly sections: Readonly<Record<string, Mapping>>;
}

/** What zod found wrong with a document, each with what stands there. */
export function problemsOf(error: z.core.$ZodError, document: Mapping): ConfigurationProblem[] {
  return error.issues.map(({ path, message }) => ({
    path: pathText(path),
    message: `${message}${whatItIs(document, path)}`,
  }));
}

/** `, is 40`: what stands in the file, when it is short enough to say. */
function whatItIs(document: Mapping, path: readonly PropertyKey[]): string {
  const value = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], document);
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? '' : `, is ${text}`;
}

/** The paths of fields that a document has and its kind doesn't. */
export function unknownFields(document: Mapping, { topLevel, sections }: FieldNames): string[] {
  return Object.entries(document).flatMap(([name, value]) => {
    if (Object.hasOwn(topLevel, name)) return [];
    const section = Object.hasOwn(sections, name) ? sections[name] : undefined;
    if (section === undefined) return [name];
    const inner = isMapping(value) ? Object.keys(value) : [];
    return inner.filter(field => !Object.hasOwn(section, field)).map(field => `${name}.${field}`);
  });
}

/** Every field with its path; the fields of a section one by one. */
export function leaves(fields: Mapping, sections: FieldNames['sections']): (readonly [string, unknown])[] {
  return Object.entries(fields).flatMap(([name, value]): (readonly [string, unknown])[] =>
    Object.hasOwn(sections, name)
      ? Object.entries(value as Mapping).map(([field, inner]) => [`${name}.${field}`, inner] as const)
      : [[name, value] as const],
  );
}
