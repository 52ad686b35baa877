import { describe, expect, test } from 'vitest';
import { healthRoutes } from '../../../src/http/health.ts';
import { isNodeEligible, SyncHealth } from '../../../src/http/health-state.ts';
import type { Node } from '../../../src/watch/objects.ts';

const START = Date.parse('2026-01-02T03:04:05.000Z');
const NODE: Node = { name: 'a', uid: 'u', labels: {}, podCIDRs: [], addresses: [], taints: [], isDeleting: false };

function setUp(families: readonly ('IPv4' | 'IPv6')[] = ['IPv4']) {
  const clock = { ms: START };
  const now = () => clock.ms;
  const state = new SyncHealth({ families, syncPeriodMs: 30_000, now });
  const probes: string[] = [];
  const routes = healthRoutes({ state, now, onProbe: (probe, status) => probes.push(`${probe} ${status}`) });
  const get = async (path: string) => {
    const reply = await routes[path]?.('');
    return { status: reply?.status, body: JSON.parse(reply?.body ?? '') as unknown, type: reply?.contentType };
  };
  return { clock, state, get, probes, routes };
}

describe('/healthz and /livez', () => {
  test('starting up is healthy, in exactly the shape of kube-proxy', async () => {
    const { routes, get } = setUp();
    expect((await get('/healthz')).type).toBe('application/json');
    expect((await routes['/healthz']?.(''))?.body).toBe(
      '{"lastUpdated":"2026-01-02T03:04:05.000Z","currentTime":"2026-01-02T03:04:05.000Z","nodeEligible":true,"healthy":true,"status":{}}',
    );
    expect((await routes['/livez']?.(''))?.body).toBe(
      '{"lastUpdated":"2026-01-02T03:04:05.000Z","currentTime":"2026-01-02T03:04:05.000Z","healthy":true,"status":{}}',
    );
  });

  test('a family that was programmed shows when; lastUpdated of a healthy proxy is now', async () => {
    const { clock, state, get } = setUp(['IPv4', 'IPv6']);
    state.updated('IPv4');
    clock.ms += 90_000;
    expect(await get('/healthz')).toMatchObject({
      status: 200,
      body: {
        lastUpdated: '2026-01-02T03:05:35.000Z',
        status: { IPv4: { lastUpdated: '2026-01-02T03:04:05.000Z', healthy: true } },
      },
    });
  });

  test('an update that waits for two sync periods makes both 503, until it is written', async () => {
    const { clock, state, get, probes } = setUp(['IPv4', 'IPv6']);
    state.updated('IPv4');
    state.updated('IPv6');
    clock.ms += 1000;
    state.queued('IPv4');
    clock.ms += 30_000;
    state.queued('IPv4');
    clock.ms += 29_999;
    expect((await get('/healthz')).status).toBe(200);
    clock.ms += 1;
    expect(await get('/healthz')).toMatchObject({
      status: 503,
      body: {
        lastUpdated: '2026-01-02T03:04:05.000Z',
        nodeEligible: true,
        healthy: false,
        status: { IPv4: { healthy: false }, IPv6: { healthy: true } },
      },
    });
    expect((await get('/livez')).status).toBe(503);
    state.updated('IPv4');
    expect((await get('/livez')).status).toBe(200);
    expect(probes).toEqual(['healthz 200', 'healthz 503', 'livez 503', 'livez 200']);
  });

  test('an update that waits before the first sync is still starting up', async () => {
    const { clock, state, get } = setUp();
    state.queued('IPv4');
    clock.ms += 3_600_000;
    expect((await get('/healthz')).status).toBe(200);
  });

  test.each([
    { ...NODE, isDeleting: true },
    { ...NODE, taints: ['other', 'ToBeDeletedByClusterAutoscaler'] },
  ])('a node that goes away fails /healthz but not /livez', async node => {
    const { state, get } = setUp();
    state.updated('IPv4');
    state.sawNode(node);
    expect(await get('/healthz')).toMatchObject({ status: 503, body: { nodeEligible: false, healthy: true } });
    expect(await get('/livez')).toMatchObject({ status: 200, body: { healthy: true } });
    state.sawNode(NODE);
    expect((await get('/healthz')).status).toBe(200);
  });

  test('a node that is not known counts as eligible', () => {
    expect(isNodeEligible(undefined)).toBe(true);
  });
});

describe('/readyz', () => {
  test('says which family is missing until each is programmed', async () => {
    const { state, get } = setUp(['IPv4', 'IPv6']);
    expect(await get('/readyz')).toEqual({
      status: 503,
      type: 'application/json',
      body: {
        ready: false,
        missing: [
          { part: 'IPv4', reason: 'not programmed yet' },
          { part: 'IPv6', reason: 'not programmed yet' },
        ],
      },
    });
    state.updated('IPv4');
    expect(await get('/readyz')).toMatchObject({ status: 503, body: { missing: [{ part: 'IPv6' }] } });
    state.updated('IPv6');
    expect(await get('/readyz')).toMatchObject({ status: 200, body: { ready: true, missing: [] } });
  });

  test('a failed sync makes it 503 with the reason, until one works', async () => {
    const { state, get } = setUp();
    state.updated('IPv4');
    state.failed('IPv4', 'iptables-restore: exit status 4');
    expect(await get('/readyz')).toMatchObject({
      status: 503,
      body: { missing: [{ part: 'IPv4', reason: 'last sync failed: iptables-restore: exit status 4' }] },
    });
    state.updated('IPv4');
    expect((await get('/readyz')).status).toBe(200);
  });

  test('a family that was not announced is a mistake of the caller', () => {
    expect(() => setUp().state.queued('IPv6')).toThrow(TypeError);
  });
});
