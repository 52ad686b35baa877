import { createServer, type Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { defaultConfiguration } from '../../../src/config/load.ts';
import { SyncHealth } from '../../../src/http/health-state.ts';
import { ListenError } from '../../../src/http/listen.ts';
import { NodeServers } from '../../../src/http/servers.ts';
import { createLogger } from '../../../src/log.ts';
import { createMetrics } from '../../../src/metrics.ts';

const LOOPBACK = '127.0.0.1';
let lines: { msg: string; level: string }[];
let taken: Server[];
beforeEach(() => {
  lines = [];
  taken = [];
});
afterEach(async () => {
  await Promise.all(taken.map(server => new Promise(resolve => server.close(resolve))));
});

function newServers(): NodeServers {
  const write = (line: string) => lines.push(JSON.parse(line) as { msg: string; level: string });
  const source = () => ({ awaited: [], lastContactMs: undefined });
  return new NodeServers({
    health: new SyncHealth({ families: ['IPv4'], syncPeriodMs: () => 1000, source, now: Date.now }),
    metrics: createMetrics('1.2.3'),
    mode: 'iptables',
    fields: () => defaultConfiguration().fields,
    log: createLogger({ level: 'info', destination: { write } }),
  });
}

/** A port of the loopback that another program has until the test is over. */
async function takePort(address = LOOPBACK): Promise<number> {
  const server = createServer();
  await new Promise<void>(resolve => server.listen(0, address, resolve));
  taken.push(server);
  const where = server.address();
  return typeof where === 'object' && where !== null ? where.port : 0;
}

/** Ports that were free a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let index = 0; index < count; index += 1) ports.push(await takePort());
  const servers = taken.splice(-count);
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))));
  return ports;
}

function addresses(healthz: number, metrics: number, { isHard = false, healthzAddress = LOOPBACK } = {}) {
  return {
    healthz: { address: healthzAddress, port: healthz },
    metrics: { address: LOOPBACK, port: metrics },
    bindAddressHardFail: isHard,
  };
}

/** The status of a path there; what went wrong when nobody listens. */
async function statusAt(port: number, path = '/healthz'): Promise<number | string> {
  try {
    const response = await fetch(`http://${LOOPBACK}:${port}${path}`, { headers: { connection: 'close' } });
    await response.text();
    return response.status;
  } catch (error) {
    return String((error as { cause?: { code?: string } }).cause?.code);
  }
}

describe('the servers of a node', () => {
  test('open on both addresses, close, and open again', async () => {
    const servers = newServers();
    const [healthz = 0, metrics = 0] = await freePorts(2);
    for (const round of [1, 2]) {
      await servers.open(addresses(healthz, metrics));
      expect([round, await statusAt(healthz, '/readyz'), await statusAt(metrics, '/configz')]).toEqual([
        round,
        503,
        200,
      ]);
      await servers.close();
      expect([await statusAt(healthz), await statusAt(metrics)]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
    }
  });

  test('with bindAddressHardFail an address that is taken fails, and neither stays open', async () => {
    const servers = newServers();
    const [healthz = 0] = await freePorts(1);
    await expect(servers.open(addresses(healthz, await takePort(), { isHard: true }))).rejects.toThrow(ListenError);
    expect(await statusAt(healthz)).toBe('ECONNREFUSED');
    await servers.close();
  });

  test('move to another port; the one that did not change is left alone', async () => {
    const servers = newServers();
    const [healthz = 0, next = 0, metrics = 0] = await freePorts(3);
    await servers.open(addresses(healthz, metrics));
    await servers.configure(addresses(next, metrics));
    expect(await Promise.all([healthz, next, metrics].map(port => statusAt(port)))).toEqual(['ECONNREFUSED', 200, 200]);
    expect(lines.filter(({ msg }) => msg.startsWith('metrics server'))).toHaveLength(1);
    await servers.close();
  });

  test('move between addresses that overlap on one port', async () => {
    const servers = newServers();
    const [healthz = 0, metrics = 0] = await freePorts(2);
    await servers.open(addresses(healthz, metrics, { healthzAddress: '0.0.0.0' }));
    await servers.configure(addresses(healthz, metrics, { healthzAddress: LOOPBACK }));
    expect(await statusAt(healthz)).toBe(200);
    await servers.configure(addresses(healthz, metrics, { healthzAddress: '0.0.0.0' }));
    expect(await statusAt(healthz)).toBe(200);
    expect(lines.filter(({ level }) => level === 'warn')).toEqual([]);
    await servers.close();
  });

  test.for(['the same port', 'another port'])(
    'an address that cannot be had, on %s, leaves the server where it was, and the log says so',
    async what => {
      const servers = newServers();
      const [healthz = 0, metrics = 0] = await freePorts(2);
      await servers.open(addresses(healthz, metrics));
      const isSamePort = what === 'the same port';
      // TEST-NET-1 (RFC 5737) is no address of this host.
      const next = isSamePort
        ? addresses(healthz, metrics, { healthzAddress: '192.0.2.1' })
        : addresses(await takePort(), metrics);
      await servers.configure(next);
      expect(await statusAt(healthz)).toBe(200);
      expect(lines.filter(({ level }) => level === 'warn').map(({ msg }) => msg)).toEqual([
        expect.stringContaining(`; it stays on ${LOOPBACK}, port ${healthz}`),
      ]);
      // And going back to what it was changes nothing.
      await servers.configure(addresses(healthz, metrics));
      expect(await statusAt(healthz)).toBe(200);
      await servers.close();
      expect(await statusAt(healthz)).toBe('ECONNREFUSED');
    },
  );

  test('one that never got its address goes on to the next one', async () => {
    const servers = newServers();
    const [healthz = 0, metrics = 0] = await freePorts(2);
    await servers.open(addresses(await takePort(), metrics));
    await servers.configure(addresses(healthz, metrics));
    expect(await statusAt(healthz)).toBe(200);
    await servers.close();
  });

  test('a change while closed changes nothing, and one while closing opens nothing', async () => {
    const servers = newServers();
    const [healthz = 0, next = 0, metrics = 0] = await freePorts(3);
    await servers.configure(addresses(next, metrics));
    expect(await statusAt(next)).toBe('ECONNREFUSED');
    await servers.open(addresses(healthz, metrics));
    await Promise.all([servers.close(), servers.configure(addresses(next, metrics))]);
    expect(await Promise.all([healthz, next].map(port => statusAt(port)))).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
  });
});
