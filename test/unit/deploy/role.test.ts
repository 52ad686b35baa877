import type { V1PolicyRule } from '@kubernetes/client-node';
import { describe, expect, test, vi } from 'vitest';
import { started } from '../../../src/events/happenings.ts';
import { EventRecorder } from '../../../src/events/recorder.ts';
import { startApiServer } from '../../../src/lab/apiserver/server.ts';
import { type ApiSource, startApiSource } from '../../../src/watch/api-source.ts';
import { systemClock } from '../../../src/watch/clock.ts';
import type { EndpointsSource } from '../../../src/watch/endpoints-watch.ts';
import { Store } from '../../../src/watch/store.ts';
import { type ApiGateOptions, accessOf, openApiGate } from '../../fakes/api-gate.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';
import { theOnly } from './manifest.ts';

const { rules = [] } = theOnly('ClusterRole');

/** Posts an Event through the source, and that it happened again. */
async function postEvents(source: ApiSource): Promise<void> {
  const clock = new ManualClock();
  const log = { warn: () => undefined, debug: () => undefined };
  await using events = new EventRecorder({
    by: { controller: 'kproxy-ts', instance: 'node-a' },
    send: () => source.send,
    clock,
    log,
  });
  for (let i = 0; i < 2; i += 1) events.record(started('node-a', 'kproxy-ts'));
  // Of one that was refused no count is sent.
  await Promise.race([clock.pass(60_000), events.idle()]);
  await events.idle();
}

interface Asked extends Partial<ApiGateOptions> {
  readonly endpointsFrom?: EndpointsSource;
}

/** Lists and watches through the gate until nothing new has to be asked, and returns what was asked. */
async function requests({ endpointsFrom = 'auto', ...options }: Asked = {}) {
  await using server = await startApiServer({ host: '127.0.0.1', port: 0 });
  await using gate = await openApiGate({ server: server.url, rules, ...options });
  const store = new Store();
  const stop = new AbortController();
  const source = await startApiSource({
    server: gate.url,
    endpointsFrom,
    nodeName: 'node-a',
    optional: ['ServiceCIDR', 'Namespace', 'Pod'],
    store,
    log: recordedLog(),
    clock: systemClock,
    signal: stop.signal,
  });
  const isWatched = () => expect([...gate.used].filter(access => access.startsWith('watch '))).toHaveLength(6);
  await vi.waitFor(() => (gate.refused.size > 0 ? undefined : isWatched()));
  await postEvents(source);
  stop.abort();
  await source[Symbol.asyncDispose]();
  return { used: [...gate.used].toSorted(), refused: [...gate.refused].toSorted() };
}

function without(resource: string): V1PolicyRule[] {
  return rules.map(rule => ({ ...rule, resources: rule.resources?.filter(name => name !== resource) ?? [] }));
}

describe('the role', () => {
  test('allows what an API server with WatchList is asked', async () => {
    expect(await requests()).toMatchObject({ refused: [] });
  });

  test('allows what older API servers are asked, for EndpointSlices or Endpoints, and nothing that is asked of none', async () => {
    const slices = await requests({ hasWatchList: false });
    const endpoints = await requests({ hasWatchList: false, endpointsFrom: 'Endpoints' });
    expect([...slices.refused, ...endpoints.refused]).toEqual([]);
    expect([...new Set([...slices.used, ...endpoints.used])].toSorted()).toEqual(accessOf(rules).toSorted());
  });

  test.each(['services', 'endpointslices', 'nodes'])('without %s is not enough', async resource => {
    const { refused } = await requests({ rules: without(resource) });
    expect(refused).toContainEqual(expect.stringContaining(resource));
  });

  test.each(['create', 'patch'])('without %s, Events are not posted or not counted', async verb => {
    const verbs = (rule: V1PolicyRule) => ({ ...rule, verbs: rule.verbs.filter(name => name !== verb) });
    const { refused } = await requests({ rules: rules.map(verbs) });
    expect(refused).toContain(`${verb} events.events.k8s.io`);
  });

  test('without servicecidrs is enough: nobody waits for them', async () => {
    const { used, refused } = await requests({ rules: without('servicecidrs') });
    expect(refused).toEqual([expect.stringContaining('servicecidrs.networking.k8s.io')]);
    expect(used).toContain('create events.events.k8s.io');
  });

  test('without endpoints is not enough when they are asked for', async () => {
    const { refused } = await requests({ rules: without('endpoints'), endpointsFrom: 'Endpoints' });
    expect(refused).toContain('watch endpoints');
  });
});
