import * as z from 'zod/mini';
import { type Mapping, problemsOf, unknownFields } from './document-check.ts';
import type { ConfigurationProblem } from './error.ts';
import { NODE_PATH_PREFIX } from './field-effects.ts';
import { LATER_NODE_SECTIONS, NODE_SECTIONS, NODE_TOP_LEVEL, type NodeFields, nodeSchema } from './node-fields.ts';

type Checked = { readonly fields: NodeFields } | { readonly problems: readonly ConfigurationProblem[] };

/** Checks one NodeConfiguration: its fields with defaults, or everything that is wrong with it. */
export function checkNodeDocument(document: Mapping): Checked {
  const result = z.safeParse(nodeSchema, document);
  if (result.success) return { fields: result.data };
  const problems = problemsOf(result.error, document);
  return { problems: problems.map(({ path, message }) => ({ path: `${NODE_PATH_PREFIX}${path}`, message })) };
}

/** A line for each field that this version doesn't know. */
export function nodeWarnings(document: Mapping): string[] {
  const unknown = unknownFields(document, { topLevel: NODE_TOP_LEVEL, sections: NODE_SECTIONS });
  return unknown.map(path =>
    LATER_NODE_SECTIONS.has(path)
      ? `${NODE_PATH_PREFIX}${path} comes in a later version; not used by this one`
      : `unknown field ${NODE_PATH_PREFIX}${path}, ignored`,
  );
}
