/** Our own annotations of a Service (docs/annotations.md), trimmed: see trim.ts. */
import { parseCIDR } from '../net/cidr.ts';
import { canonicalIP, ipFamily } from '../net/ip.ts';
import { ownText } from '../text/own-text.ts';
import { allowListOf, childOf, compactOf, EMPTY, type Fields, noteProblem, textOf, wordOf } from './fields.ts';
import type { EndpointWeight, Service } from './objects.ts';

const PREFIX = 'kproxy-ts.dev/';

/** What each annotation may be, beside the field that it becomes. */
const ANNOTATIONS = {
  nodePortSourceRanges: `${PREFIX}node-port-source-ranges`,
  affinityScope: `${PREFIX}session-affinity-scope`,
  balancing: `${PREFIX}load-balancing`,
  endpointWeights: `${PREFIX}endpoint-weights`,
} as const;
const KNOWN: ReadonlySet<string> = new Set(Object.values(ANNOTATIONS));

type ServiceAnnotations = Pick<Service, keyof typeof ANNOTATIONS>;

const NONE: ServiceAnnotations = {
  nodePortSourceRanges: EMPTY,
  affinityScope: 'Port',
  balancing: 'random',
  endpointWeights: EMPTY,
};
/** Of one endpoint beside another; more would need tables of more slots. */
const MOST_WEIGHT = 100;

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
    balancing: wordOf(annotations, ANNOTATIONS.balancing, ['random', 'source-hash']),
    endpointWeights: weightsIn(annotations, ANNOTATIONS.endpointWeights),
  };
}

/** CIDRs with commas between them, as annotations of this kind are written everywhere. */
function rangesIn(annotations: Fields, name: string): readonly string[] {
  const text = textOf(annotations, name);
  if (text.trim() === '') return EMPTY;
  return allowListOf({ ...annotations, raw: { [name]: text.split(',') } }, name, 'the NodePorts let nobody in');
}

/** `10.1.0.0/24=3, 10.2.0.7=0`: an address or CIDR with its weight, commas between. What can't be read is left out, and noted. */
function weightsIn(annotations: Fields, name: string): readonly EndpointWeight[] {
  const text = textOf(annotations, name);
  if (text.trim() === '') return EMPTY;
  const found = new Map<string, EndpointWeight>();
  for (const [index, entry] of text.split(',').entries()) {
    const weight = weightOf(entry);
    if (weight === undefined)
      noteProblem(
        annotations,
        `${name}[${index}]`,
        entry,
        `is not ADDRESS=WEIGHT or CIDR=WEIGHT, from 0 to ${MOST_WEIGHT}`,
      );
    else if (found.has(weight.cidr)) noteProblem(annotations, `${name}[${index}]`, entry, 'has a weight already');
    else found.set(weight.cidr, weight);
  }
  return compactOf([...found.values()]);
}

function weightOf(entry: string): EndpointWeight | undefined {
  const [, range = '', digits = ''] = /^([^=]*)=\s*(\d{1,3})\s*$/.exec(entry) ?? [];
  const address = canonicalIP(range);
  const single = address === undefined ? range : `${address}/${ipFamily(address) === 'IPv4' ? 32 : 128}`;
  const cidr = parseCIDR(single);
  const weight = Number(digits);
  return cidr === undefined || digits === '' || weight > MOST_WEIGHT ? undefined : { cidr: ownText(cidr.text), weight };
}
