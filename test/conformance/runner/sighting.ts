/** What was seen of a probe, by either way of running, and whether that is what the case expects. */
import { parseEndpoint } from './endpoint-text.ts';
import type { Expectation, Probe, Verdict } from './packetflow.ts';

/** One thing that may become of a new connection. */
export type Sighting =
  | { readonly endpoint: string; readonly masquerade: boolean }
  | { readonly verdict: Verdict }
  /** No rule chose where it goes, but its source is another one there. */
  | { readonly verdict: 'none, masqueraded' };

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
  const isItself = (endpoint: string) => parseEndpoint(endpoint).ip === sourceIP;
  const others = found.filter(({ endpoint }) => !isItself(endpoint));
  if (others.length === found.length) return found.every(({ masquerade }) => masquerade === expected);
  if (!found.every(({ endpoint, masquerade }) => masquerade || !isItself(endpoint))) return false;
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
    return `${seen.endpoint} ${seen.masquerade ? 'masqueraded' : 'with its own source'}`;
  });
  return [...new Set(texts)].toSorted().join(', ') || 'nothing';
}
