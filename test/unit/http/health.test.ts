import { describe, expect, test } from 'vitest';
import { healthRoutes } from '../../../src/http/health.ts';
import { isNodeEligible, type SourceHealth, SyncHealth } from '../../../src/http/health-state.ts';
import type { Node } from '../../../src/watch/objects.ts';

const START = Date.parse('2026-01-02T03:04:05.000Z');
const NODE: Node = { name: 'a', uid: 'u', labels: {}, podCIDRs: [], addresses: [], taints: [], isDeleting: false };

function setUp(families: readonly ('IPv4' | 'IPv6')[] = ['IPv4']) {
  const clock = { ms: START };
  const now = () => clock.ms;
  const source: { current: SourceHealth } = { current: { awaited: [], lastContactMs: undefined } };
  const state = new SyncHealth({ families, syncPeriodMs: () => 30_000, source: () => source.current, now });
  const probes: string[] = [];
  const routes = healthRoutes({ state, now, onProbe: (probe, status) => probes.push(`${probe} ${status}`) });
  const get = async (path: string) => {
    const reply = await routes[path]?.('');
    return { status: reply?.status, body: JSON.parse(reply?.body ?? '') as unknown, type: reply?.contentType };
  };
  return { clock, state, source, get, probes, routes };
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
    // A Node object that is deleted says no more than it said last.
    state.sawNode(undefined);
    expect((await get('/healthz')).status).toBe(503);
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

  test('before the first complete lists it names the kinds that are missing, and whether the API server has said anything', async () => {
    const { source, get } = setUp();
    source.current = { awaited: ['Service', 'Node'], lastContactMs: { Service: 0, EndpointSlice: 0, Node: 0 } };
    expect(await get('/readyz')).toMatchObject({
      status: 503,
      body: {
        missing: [
          { part: 'cluster', reason: 'no complete list of Service, Node yet: the API server has said nothing yet' },
          { part: 'IPv4', reason: 'not programmed yet' },
        ],
        apiServer: { lastContact: null, silentSeconds: null },
      },
    });
    source.current = { awaited: ['Node'], lastContactMs: { Service: START, EndpointSlice: START, Node: 0 } };
    expect(await get('/readyz')).toMatchObject({
      body: { missing: [{ reason: 'no complete list of Node yet' }, { part: 'IPv4' }] },
    });
    expect((await get('/livez')).status).toBe(200);
  });

  test('an API server that is away for hours leaves a programmed node ready, and the body says since when', async () => {
    const { clock, state, source, get } = setUp();
    state.updated('IPv4');
    source.current = {
      awaited: [],
      lastContactMs: { Service: START + 5000, EndpointSlice: START, Node: START + 9000 },
    };
    clock.ms += 3 * 3_600_000;
    expect(await get('/readyz')).toEqual({
      status: 200,
      type: 'application/json',
      body: {
        ready: true,
        missing: [],
        apiServer: {
          lastContact: '2026-01-02T03:04:05.000Z',
          silentSeconds: 10_800,
          kinds: {
            Service: '2026-01-02T03:04:10.000Z',
            EndpointSlice: '2026-01-02T03:04:05.000Z',
            Node: '2026-01-02T03:04:14.000Z',
          },
        },
      },
    });
    expect([(await get('/livez')).status, (await get('/healthz')).status]).toEqual([200, 200]);
  });

  test('a look at the kernel that keeps failing makes /livez 503 after two sync periods, though nothing changed', async () => {
    const { clock, state, get } = setUp();
    state.updated('IPv4');
    state.failed('IPv4', 'another program holds the xtables lock');
    clock.ms += 30_000;
    state.failed('IPv4', 'another program holds the xtables lock');
    clock.ms += 29_999;
    expect((await get('/livez')).status).toBe(200);
    clock.ms += 1;
    expect((await get('/livez')).status).toBe(503);
    expect(await get('/readyz')).toMatchObject({
      body: { missing: [{ reason: expect.stringContaining('xtables lock') }] },
    });
    state.updated('IPv4');
    expect([(await get('/livez')).status, (await get('/readyz')).status]).toEqual([200, 200]);
  });

  test('a process that writes again after another did is as new', async () => {
    const { clock, state, get } = setUp();
    state.updated('IPv4');
    state.queued('IPv4');
    clock.ms += 600_000;
    expect((await get('/livez')).status).toBe(503);
    state.restart();
    expect((await get('/livez')).status).toBe(200);
    expect(await get('/readyz')).toMatchObject({ status: 503, body: { missing: [{ reason: 'not programmed yet' }] } });
  });

  test('a family that was not announced is a mistake of the caller', () => {
    expect(() => setUp().state.queued('IPv6')).toThrow(TypeError);
  });
});

/** Each step, and the codes of /healthz and /livez after it. */
const SCRIPT: readonly [string, (step: Script) => void, number, number, Partial<Record<'IPv4' | 'IPv6', boolean>>?][] =
  [
    ['start', () => undefined, 200, 200],
    ['updated', ({ update }) => update(), 200, 200],
    ['25 s with nothing queued', ({ advance }) => advance(25), 200, 200, { IPv4: true, IPv6: true }],
    ['IPv4 queued, 25 s', script => script.queue('IPv4').advance(25), 503, 503, { IPv4: false, IPv6: true }],
    ['updated, 5 s', script => script.update().advance(5), 200, 200],
    ['IPv6 queued, 25 s', script => script.queue('IPv6').advance(25), 503, 503, { IPv4: true, IPv6: false }],
    ['updated again, 5 s', script => script.update().advance(5), 200, 200],
    ['both queued', script => script.queue('IPv4').queue('IPv6').advance(25), 503, 503, { IPv4: false, IPv6: false }],
    ['updated at last, 5 s', script => script.update().advance(5), 200, 200],
    ['an unrelated taint', ({ node }) => node({ taints: ['other'] }), 200, 200],
    ['to be deleted', ({ node }) => node({ taints: ['ToBeDeletedByClusterAutoscaler'] }), 503, 200],
    ['kept after all', ({ node }) => node({}), 200, 200],
    ['being deleted', ({ node }) => node({ isDeleting: true }), 503, 200],
  ];

interface Script {
  update(): Script;
  queue(family: 'IPv4' | 'IPv6'): Script;
  advance(seconds: number): Script;
  node(fields: Partial<Node>): Script;
}

test("plays kube-proxy's script, with 10 s until a queued update makes it unhealthy", async () => {
  const families = ['IPv4', 'IPv6'] as const;
  const clock = { ms: START };
  const now = () => clock.ms;
  const source = () => ({ awaited: [], lastContactMs: undefined });
  const state = new SyncHealth({ families, syncPeriodMs: () => 5000, source, now });
  const routes = healthRoutes({ state, now });
  const ask = async (path: string) => {
    const reply = await routes[path]?.('');
    return { status: reply?.status, body: JSON.parse(reply?.body ?? '') };
  };
  let updatedMs = 0;
  const script: Script = {
    update: () => {
      for (const family of families) state.updated(family);
      updatedMs = clock.ms;
      return script;
    },
    queue: family => {
      state.queued(family);
      return script;
    },
    advance: seconds => {
      clock.ms += seconds * 1000;
      return script;
    },
    node: fields => {
      state.sawNode({ ...NODE, ...fields });
      return script;
    },
  };
  for (const [name, step, healthz, livez, status] of SCRIPT) {
    step(script);
    const [health, live] = [await ask('/healthz'), await ask('/livez')];
    expect([name, health.status, live.status, state.isProxyHealthy()]).toEqual([name, healthz, livez, livez === 200]);
    expect(health.body.nodeEligible).toBe(healthz === livez);
    expect(live.body).not.toHaveProperty('nodeEligible');
    expect(live.body.lastUpdated).toBe(new Date(livez === 200 ? clock.ms : updatedMs).toISOString());
    for (const [family, healthy] of Object.entries(status ?? {}))
      expect(live.body.status[family]).toMatchObject({ healthy });
  }
});
