import type { V1PolicyRule } from '@kubernetes/client-node';
import { describe, expect, test, vi } from 'vitest';
import { startApiServer } from '../../../src/lab/apiserver/server.ts';
import { startApiSource } from '../../../src/watch/api-source.ts';
import { systemClock } from '../../../src/watch/clock.ts';
import type { EndpointsSource } from '../../../src/watch/endpoints-watch.ts';
import { Store } from '../../../src/watch/store.ts';
import { type ApiGateOptions, accessOf, openApiGate } from '../../fakes/api-gate.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';
import { theOnly } from './manifest.ts';

const { rules = [] } = theOnly('ClusterRole');

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
    store,
    log: recordedLog(),
    clock: systemClock,
    signal: stop.signal,
  });
  const isWatched = () => expect([...gate.used].filter(access => access.startsWith('watch '))).toHaveLength(3);
  await vi.waitFor(() => (gate.refused.size > 0 ? undefined : isWatched()));
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

  test('without endpoints is not enough when they are asked for', async () => {
    const { refused } = await requests({ rules: without('endpoints'), endpointsFrom: 'Endpoints' });
    expect(refused).toContain('watch endpoints');
  });
});
