/** What the kernel does with the new connections of a probe. */
import { endpointText } from '../../../../src/endpoints/types.ts';
import type { Probe } from '../packetflow.ts';
import type { Sighting } from '../sighting.ts';
import type { CaseAddresses } from './case-addresses.ts';
import type { Arrival, Attempt, AttemptParams, SocketProtocol } from './sockets.ts';
import type { Stage } from './stage.ts';

/** An endpoint that should be seen is missed with less than this probability: a failure of its own making would be worse than a slow run. */
const MISS = 1e-9;
/** One endpoint more than should be there is missed with less than this. */
const MISS_ONE_MORE = 1e-3;
/** So long an answer may take on a busy machine; a lost SYN is sent again after 1 s. */
const PATIENCE_MS = 8000;
/** So long silence is waited for where silence is expected; then the fence tells whether that was long enough. */
const SILENCE_MS = 250;
/** Connections that show that a verdict isn't one of several that chance may choose. */
const VERDICT_ATTEMPTS = 4;

/** Plays the probe. Rejects when it can't be played. */
export async function observe(stage: Stage, probe: Probe, addresses: CaseAddresses): Promise<readonly Sighting[]> {
  const isNodes = probe.sourceType === 'node' || probe.sourceType === 'lb-ip';
  const play = () => observeFrom(stage, probe, addresses);
  return isNodes ? stage.network.withAddress(probe.sourceIP, play) : play();
}

async function observeFrom(stage: Stage, probe: Probe, addresses: CaseAddresses): Promise<readonly Sighting[]> {
  const attempts = await attemptUntilSure(stage, probe, addresses);
  const sightings = attempts.flatMap(attempt => sightingOf(attempt, probe, addresses));
  if (!attempts.some(({ kind }) => kind === 'silent')) {
    const isUntouched = sightings.every(seen => 'verdict' in seen && seen.verdict === 'none');
    const isAtNode = attempts.every(attempt => attempt.kind === 'answered' && attempt.by.place === 'node');
    return isUntouched && isAtNode && (await isAccepted(stage, probe)) ? [{ verdict: 'ACCEPT' }] : distinct(sightings);
  }
  const lost = (await stage.arrivals()).map(arrival => ({
    other: `arrived at ${whereOf(arrival)} and was not answered`,
  }));
  return distinct([...sightings, ...(lost.length === 0 ? [{ verdict: 'DROP' } as const] : lost)]);
}

/** So many connections that every endpoint that is expected shows itself, and any other would. */
async function attemptUntilSure(
  stage: Stage,
  probe: Probe,
  { hasAffinity }: CaseAddresses,
): Promise<readonly Attempt[]> {
  const expected = 'endpoints' in probe.expect ? probe.expect.endpoints : [];
  const isSilenceExpected = 'verdict' in probe.expect && probe.expect.verdict === 'DROP';
  const params = paramsOf(probe, isSilenceExpected ? SILENCE_MS : PATIENCE_MS);
  const attempt = async (count: number) => {
    if (!hasAffinity) return stage.attempt(probe.sourceType, { ...params, count });
    // A client that is known goes where it was: each is made a stranger again.
    const attempts: Attempt[] = [];
    for (let made = 0; made < count && attempts.every(({ kind }) => kind === 'answered'); made += 1) {
      await stage.forgetClients();
      attempts.push(...(await stage.attempt(probe.sourceType, { ...params, count: 1 })));
    }
    return attempts;
  };
  await stage.arrivals(); // from now on
  const first = await attempt(1);
  if (first[0]?.kind === 'silent') {
    if (isSilenceExpected) await stage.fence(probe.sourceType, params);
    return first;
  }
  if (first[0]?.kind !== 'answered') return [...first, ...(await attempt(VERDICT_ATTEMPTS - 1))];
  if (expected.length === 0 && !isTranslated(first[0].by, probe))
    return [...first, ...(await attempt(VERDICT_ATTEMPTS - 1))];
  const attempts = [...first];
  const most = connectionsFor(expected.length, MISS);
  for (
    let next = connectionsFor(expected.length + 1, MISS_ONE_MORE);
    next > 0;
    next = Math.min(expected.length, most - attempts.length)
  ) {
    attempts.push(...(await attempt(next)));
    if (isComplete(attempts, expected)) break;
  }
  return attempts;
}

/** Whether more connections can't change the outcome: one wasn't answered, or all that is expected was seen. */
function isComplete(attempts: readonly Attempt[], expected: readonly string[]): boolean {
  if (!attempts.every(({ kind }) => kind === 'answered')) return true;
  const seen = new Set(attempts.map(attempt => (attempt.kind === 'answered' ? endpointText(attempt.by) : '')));
  return expected.every(endpoint => seen.has(endpoint));
}

/** Connections after which any one of `endpoints` that are chosen alike is missed with less than this probability. */
export function connectionsFor(endpoints: number, miss: number): number {
  return endpoints <= 1 ? 1 : Math.ceil(Math.log(miss / endpoints) / Math.log(1 - 1 / endpoints));
}

function paramsOf({ proto, sourceIP, destIP, destPort }: Probe, timeoutMs: number): AttemptParams {
  return {
    protocol: proto as SocketProtocol,
    source: sourceIP,
    destination: destIP,
    port: destPort,
    count: 1,
    timeoutMs,
  };
}

function sightingOf(attempt: Attempt, probe: Probe, addresses: CaseAddresses): Sighting[] {
  switch (attempt.kind) {
    case 'silent':
      return [];
    case 'refused':
      return [{ verdict: 'REJECT' }];
    case 'error':
      return [{ other: attempt.error }];
    case 'answered': {
      const { by, localPort } = attempt;
      // On the node itself the masquerade may choose the very address; then the port tells.
      const isPortTelling = addresses.nodeIPs.includes(by.ip) && addresses.nodeIPs.includes(probe.sourceIP);
      const masquerade = by.seenIP !== probe.sourceIP || (isPortTelling && by.seenPort !== localPort);
      const isNever = !masquerade && addresses.nodeIPs.includes(by.ip) && isFromElsewhere(probe);
      if (isTranslated(by, probe)) return [{ endpoint: endpointText(by), masquerade: isNever ? 'never' : masquerade }];
      return [masquerade ? { other: `none, but with the source ${by.seenIP}` } : { verdict: 'none' }];
    }
  }
}

function isFromElsewhere({ sourceType }: Probe): boolean {
  return sourceType === 'pod' || sourceType === 'external';
}

/** Whether it arrived elsewhere than where it was sent; an endpoint may have the Service's own address and port. */
function isTranslated(by: Arrival, { destIP, destPort, expect }: Probe): boolean {
  if (by.ip !== destIP || by.port !== destPort) return true;
  return 'endpoints' in expect && expect.endpoints.includes(endpointText(by));
}

/** Whether a rule of filter lets it in whatever the policy is: it arrives although all that no rule accepts is dropped. */
async function isAccepted(stage: Stage, probe: Probe): Promise<boolean> {
  const isExpected = 'verdict' in probe.expect && probe.expect.verdict === 'ACCEPT';
  const params = paramsOf(probe, isExpected ? PATIENCE_MS : SILENCE_MS);
  return stage.network.withClosedInput(probe.destIP.includes(':'), async () => {
    const [attempt] = await stage.attempt(probe.sourceType, params);
    return attempt?.kind === 'answered';
  });
}

function whereOf(arrival: Arrival): string {
  return `${endpointText(arrival)} (${arrival.place}) from ${arrival.seenIP}`;
}

function distinct(sightings: readonly Sighting[]): Sighting[] {
  return [...new Map(sightings.map(sighting => [JSON.stringify(sighting), sighting])).values()];
}
