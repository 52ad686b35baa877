/** Our own annotations of a Service (docs/annotations.md), trimmed: see trim.ts. */
import { allowListOf, childOf, EMPTY, type Fields, noteProblem, textOf, wordOf } from './fields.ts';
import type { Service } from './objects.ts';

const PREFIX = 'kproxy-ts.dev/';

/** What each annotation may be, beside the field that it becomes. */
const ANNOTATIONS = {
  nodePortSourceRanges: `${PREFIX}node-port-source-ranges`,
  affinityScope: `${PREFIX}session-affinity-scope`,
} as const;
const KNOWN: ReadonlySet<string> = new Set(Object.values(ANNOTATIONS));

type ServiceAnnotations = Pick<Service, keyof typeof ANNOTATIONS>;

const NONE: ServiceAnnotations = { nodePortSourceRanges: EMPTY, affinityScope: 'Port' };

/** What the annotations say; unknown ones of ours are noted, so that a misspelt one isn't silently without effect. */
export function serviceAnnotationsOf(metadata: Fields): ServiceAnnotations {
  const annotations = childOf(metadata, 'annotations');
  const ours = Object.keys(annotations.raw).filter(key => key.startsWith(PREFIX));
  if (ours.length === 0) return NONE;
  for (const key of ours) {
    if (!KNOWN.has(key))
      noteProblem(annotations, key, annotations.raw[key], 'is an annotation that this version does not know');
  }
  return {
    nodePortSourceRanges: rangesIn(annotations, ANNOTATIONS.nodePortSourceRanges),
    affinityScope: wordOf(annotations, ANNOTATIONS.affinityScope, ['Port', 'Service']),
  };
}

/** CIDRs with commas between them, as annotations of this kind are written everywhere. */
function rangesIn(annotations: Fields, name: string): readonly string[] {
  const text = textOf(annotations, name);
  if (text.trim() === '') return EMPTY;
  return allowListOf({ ...annotations, raw: { [name]: text.split(',') } }, name, 'the NodePorts let nobody in');
}
