import { isDeepStrictEqual } from 'node:util';
import type { ConfigurationFields } from './configuration.ts';
import { leaves, type Mapping } from './document-check.ts';
import { effectiveDocuments } from './effective.ts';
import { NODE_PATH_PREFIX, type TakesEffect, takesEffect } from './field-effects.ts';
import { SECTIONS } from './kube-proxy-fields.ts';
import { NODE_SECTIONS } from './node-fields.ts';

/** A field that has another value than before; the values are as people write them, with defaults filled in. */
export interface Difference {
  readonly path: string;
  readonly before: string;
  readonly after: string;
  readonly takesEffect: TakesEffect;
}

/** What differs between two configurations, in the order of the fields; nothing when they mean the same. */
export function differencesOf(before: ConfigurationFields, after: ConfigurationFields): Difference[] {
  const earlier = new Map(effectiveLeaves(before));
  const later = new Map(effectiveLeaves(after));
  const paths = new Set([...earlier.keys(), ...later.keys()]);
  return [...paths]
    .filter(path => !isDeepStrictEqual(earlier.get(path), later.get(path)))
    .map(path => ({
      path,
      before: valueText(earlier.get(path)),
      after: valueText(later.get(path)),
      takesEffect: takesEffect(followsMode(path, before, after) ? 'mode' : path),
    }));
}

/** Whether a field differs only because another mode has another default for it. */
function followsMode(
  path: string,
  { kubeProxy: before }: ConfigurationFields,
  { kubeProxy: after }: ConfigurationFields,
) {
  return path === 'nodePortAddresses' && isDeepStrictEqual(before.nodePortAddresses, after.nodePortAddresses);
}

/** Every field of both documents with its value as it could stand in a file. */
export function effectiveLeaves(fields: ConfigurationFields): (readonly [string, unknown])[] {
  const { kubeProxy, node } = effectiveDocuments(fields);
  return [
    ...leaves(withoutKind(kubeProxy), SECTIONS),
    ...leaves(withoutKind(node), NODE_SECTIONS).map(([path, value]) => [`${NODE_PATH_PREFIX}${path}`, value] as const),
  ];
}

function withoutKind({ apiVersion: _, kind: __, ...fields }: Mapping): Mapping {
  return fields;
}

/** A value in one short line. */
export function valueText(value: unknown): string {
  if (value === undefined || value === '') return '""';
  if (Array.isArray(value)) return `[${value.map(valueText).join(', ')}]`;
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** `path: before → after (now)` for each. */
export function differenceText({ path, before, after, takesEffect }: Difference): string {
  const when = takesEffect === 'never' ? 'not used by this version' : takesEffect;
  return `${path}: ${before} → ${after} (${when})`;
}
