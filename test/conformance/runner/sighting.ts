/** What was seen of a probe, by either way of running, and whether that is what the case expects. */
import { parseEndpoint } from './endpoint-text.ts';
import type { Expectation, Probe, Verdict } from './packetflow.ts';

/** One thing that may become of a new connection. */
export type Sighting =
  /** `never`: what comes from elsewhere to an endpoint on the node itself isn't rewritten by the kernel, whatever rules ask for. */
  | { readonly endpoint: string; readonly masquerade: boolean | 'never' }
  | { readonly verdict: Verdict }
  /** Nothing that a case may expect, in words. */
  | { readonly other: string };

/** undefined when the sightings are what `probe` expects, else both in words. */
export function disagreement(probe: Probe, sightings: readonly Sighting[]): string | undefined {
  if (isExpected(probe, sightings)) return undefined;
  return `expected ${expectationText(probe.expect)}\nseen     ${sightingsText(sightings)}`;
}

function isExpected({ expect, sourceIP }: Probe, sightings: readonly Sighting[]): boolean {
  if ('verdict' in expect) {
    return sightings.length > 0 && sightings.every(seen => 'verdict' in seen && seen.verdict === expect.verdict);
  }
  const found = sightings.filter(seen => 'endpoint' in seen);
  if (found.length !== sightings.length) return false;
  const endpoints = new Set(found.map(({ endpoint }) => endpoint));
  const isSame =
    endpoints.size === new Set(expect.endpoints).size && expect.endpoints.every(text => endpoints.has(text));
  return isSame && isMasqueradeExpected(found, expect.masquerade, sourceIP);
}

/**
 * A pod that reaches itself is masqueraded whatever holds for the others. Where it is one of several endpoints, a case has one word for
 * both kinds: it may speak of the others, or (as kube-proxy's own tests) say whether any is masqueraded.
 */
function isMasqueradeExpected(
  found: readonly Extract<Sighting, { endpoint: string }>[],
  expected: boolean,
  sourceIP: string,
): boolean {
  const rewritable = found.filter(({ masquerade }) => masquerade !== 'never');
  const isItself = (endpoint: string) => parseEndpoint(endpoint).ip === sourceIP;
  const others = rewritable.filter(({ endpoint }) => !isItself(endpoint));
  if (others.length === rewritable.length) return rewritable.every(({ masquerade }) => masquerade === expected);
  if (!rewritable.every(({ endpoint, masquerade }) => masquerade || !isItself(endpoint))) return false;
  if (others.length === 0) return expected;
  return others.every(({ masquerade }) => masquerade === expected) || expected;
}

function expectationText(expect: Expectation): string {
  if ('verdict' in expect) return expect.verdict;
  const { endpoints, masquerade } = expect;
  return `${endpoints.toSorted().join(', ')} ${masquerade ? 'masqueraded' : 'with its own source'}`;
}

export function sightingsText(sightings: readonly Sighting[]): string {
  const texts = sightings.map(seen => {
    if ('verdict' in seen) return seen.verdict;
    if ('other' in seen) return seen.other;
    return `${seen.endpoint} ${seen.masquerade === true ? 'masqueraded' : 'with its own source'}`;
  });
  return [...new Set(texts)].toSorted().join(', ') || 'nothing';
}
