import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseRangeSets } from '../../../../src/cni/config/ranges.ts';
import { readBootId } from '../../../../src/cni/ipam/boot.ts';
import { ipamFreeCommand, ipamListCommand } from '../../../../src/cni/ipam/ipam-command.ts';
import { type Lease, leasesOf } from '../../../../src/cni/ipam/lease.ts';
import { type FreeOutcome, type FreeRequest, type IpamService, ipamRoutes } from '../../../../src/cni/ipam/routes.ts';
import { AttachmentStore } from '../../../../src/cni/ipam/store.ts';
import { serveSocket } from '../../../../src/http/socket.ts';

const CONTAINER = '0123456789abcdef0123456789abcdef';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cni-ipam-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function ports(): {
  said: string[];
  complaints: string[];
  write: (text: string) => void;
  complain: (text: string) => void;
} {
  const said: string[] = [];
  const complaints: string[] = [];
  return { said, complaints, write: text => void said.push(text), complain: text => void complaints.push(text) };
}

async function withPods(bootId = readBootId()): Promise<string> {
  const stateDir = join(directory, 'state');
  const store = AttachmentStore.open({ directory: stateDir, bootId, now: () => 5000, onOpen: () => undefined });
  const common = {
    createdAt: Date.UTC(2026, 0, 2, 3, 4, 5),
    rangeSets: parseRangeSets({
      ipam: { ranges: [[{ subnet: '10.0.0.0/24' }], [{ subnet: 'fd00::/64' }]] },
      podCIDRs: [],
    }),
    requested: [],
    hostPorts: [],
    config: {},
    netns: '',
  };
  const pod = { namespace: 'default', name: 'web-0', uid: '' };
  await store.reserve({ ...common, id: { network: 'kp', containerID: CONTAINER, ifname: 'eth0' }, pod });
  await store.reserve({ ...common, id: { network: 'kp', containerID: 'other', ifname: 'eth0' } });
  await store.release({ network: 'kp', containerID: 'other', ifname: 'eth0' });
  store[Symbol.dispose]();
  return stateDir;
}

const lease = (address: string): Lease => ({
  network: 'kp',
  address,
  state: 'ready',
  containerID: 'c1',
  ifname: 'eth0',
  since: '2026-01-02T03:04:05Z',
});

async function serving(service: IpamService | undefined, step: () => Promise<void>): Promise<void> {
  await using _ = await serveSocket(
    join(directory, 'daemon.sock'),
    ipamRoutes(() => service),
  );
  await step();
}

const answering = (outcome: FreeOutcome, asked: FreeRequest[] = []): IpamService => ({
  list: () => Promise.resolve([lease('10.0.0.2')]),
  free: request => {
    asked.push(request);
    return Promise.resolve(outcome);
  },
});

describe('kproxy-ts ipam list', () => {
  test('asks the daemon', async () => {
    const { said, complaints, ...to } = ports();
    await serving(answering({ freed: [] }), () =>
      ipamListCommand({ output: 'table', runtimeDir: directory, stateDir: '/nowhere' }, to),
    );
    expect(said.join('')).toBe(
      'NETWORK  ADDRESS   POD  CONTAINER  INTERFACE  STATE  SINCE\n' +
        'kp       10.0.0.2  -    c1         eth0       ready  2026-01-02T03:04:05Z\n',
    );
    expect(complaints).toEqual([]);
  });

  test('says what a daemon without pod networking says', async () => {
    await serving(undefined, async () => {
      const asking = ipamListCommand({ output: 'table', runtimeDir: directory, stateDir: '/nowhere' }, ports());
      await expect(asking).rejects.toThrow('this daemon wires no pods');
    });
  });

  test('without a daemon it reads the database, says so, and leaves it as it is', async () => {
    const stateDir = await withPods();
    const { said, complaints, ...to } = ports();
    await ipamListCommand({ output: 'table', runtimeDir: directory, stateDir }, to);
    expect(complaints.join('')).toMatch(/no daemon that answers at .*; this is what .*cni\.db says/);
    const rows = said
      .join('')
      .split('\n')
      .map(line => line.split(/ {2,}/).slice(0, 6));
    expect(rows.slice(1, 5)).toEqual([
      ['kp', '10.0.0.2', 'default/web-0', '0123456789ab', 'eth0', 'intent'],
      ['kp', '10.0.0.3', '-', '-', '-', 'resting'],
      ['kp', 'fd00::2', 'default/web-0', '0123456789ab', 'eth0', 'intent'],
      ['kp', 'fd00::3', '-', '-', '-', 'resting'],
    ]);
    said.length = 0;
    await ipamListCommand({ output: 'json', runtimeDir: directory, stateDir }, to);
    expect(JSON.parse(said.join(''))).toMatchObject([
      { containerID: CONTAINER, since: '2026-01-02T03:04:05Z' },
      {},
      {},
      {},
    ]);
  });

  test('F08 a database from before the last boot is called that', async () => {
    const { complaints, ...to } = ports();
    await ipamListCommand({ output: 'table', runtimeDir: directory, stateDir: await withPods('another') }, to);
    expect(complaints.join('')).toContain('none of this is held any more');
  });

  test('a database that a daemon has open, whose socket is elsewhere, is called that', async () => {
    const stateDir = await withPods();
    const database = new DatabaseSync(join(stateDir, 'cni.db'));
    database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE');
    const { complaints, ...to } = ports();
    const asking = ipamListCommand({ output: 'table', runtimeDir: directory, stateDir }, to);
    await expect(asking).rejects.toThrow(
      /no daemon that answers .*; but one has .*cni\.db open: is --runtime-dir its own\?/,
    );
    expect(complaints).toEqual([]);
    database.close();
  });

  test('unreadable rows are named, an unreadable file is an error, and so is none', async () => {
    const stateDir = await withPods();
    const database = new DatabaseSync(join(stateDir, 'cni.db'));
    database.exec("UPDATE attachments SET value = 'x'");
    const { complaints, ...to } = ports();
    await ipamListCommand({ output: 'table', runtimeDir: directory, stateDir }, to);
    expect(complaints.join('')).toContain(`unreadable: kp/${CONTAINER}/eth0: is no JSON`);
    database.exec('PRAGMA user_version = 9');
    database.close();
    const asking = (dir: string) => ipamListCommand({ output: 'table', runtimeDir: directory, stateDir: dir }, to);
    await expect(asking(stateDir)).rejects.toThrow('schema version 9');
    await expect(asking(directory)).rejects.toThrow('and there is no');
  });
});

describe('kproxy-ts ipam free', () => {
  const options = { runtimeDir: '', isForced: false };

  test('frees an address, or what a container has', async () => {
    const asked: FreeRequest[] = [];
    const { said, complaints: _, ...to } = ports();
    await serving(answering({ freed: [lease('fd00::5')] }, asked), async () => {
      const at = { ...options, runtimeDir: directory };
      expect(await ipamFreeCommand({ ...at, network: 'kp', address: 'FD00::0:5' }, to)).toBe(0);
      expect(await ipamFreeCommand({ ...at, container: 'c1', isForced: true }, to)).toBe(0);
    });
    expect(asked).toEqual([
      { network: 'kp', address: 'fd00::5', isForced: false },
      { containerID: 'c1', isForced: true },
    ]);
    expect(said[0]).toBe('freed fd00::5 of kp\n');
  });

  test('says why it is refused, and that there is nothing such', async () => {
    const { complaints, ...to } = ports();
    const request = { ...options, runtimeDir: directory, network: 'kp', address: '10.0.0.2' };
    await serving(answering({ refused: 'the pod default/web-0 lives' }), async () => {
      await expect(ipamFreeCommand(request, to)).rejects.toThrow('the pod default/web-0 lives');
    });
    await serving(answering({ freed: [] }), async () => {
      expect(await ipamFreeCommand(request, to)).toBe(1);
    });
    expect(complaints).toEqual(['nothing such is held here\n']);
  });

  test('without a daemon it refuses', async () => {
    const request = { ...options, runtimeDir: directory, network: 'kp', address: '10.0.0.2' };
    await expect(ipamFreeCommand(request, ports())).rejects.toThrow('only the daemon can free an address');
  });

  test.each([
    [{ network: 'kp' }],
    [{}],
    [{ network: 'kp', address: '10.0.0.2', container: 'c1' }],
    [{ network: 'kp', address: 'x' }],
  ])('%j names nothing', async given => {
    await expect(ipamFreeCommand({ ...options, ...given }, ports())).rejects.toMatchObject({ name: 'IpamError' });
  });

  test('the route refuses what is no request', async () => {
    const route = ipamRoutes(() => answering({ freed: [] }))['POST /v1/ipam/free'];
    for (const body of ['', '{}', '{"containerID":"c"}', '{"network":"kp","address":"x","isForced":false}', 'null']) {
      expect(await route?.(body)).toMatchObject({ status: 400 });
    }
  });
});

test('leases are in order of network and address; those of other IPAM plugins are left out', () => {
  const attachment = (network: string, addresses: string[], isDelegated = false) => ({
    id: { network, containerID: 'c', ifname: 'eth0' },
    state: 'ready' as const,
    createdAt: 0,
    addresses: addresses.map(address => ({ address })),
    hostPorts: [],
    config: null,
    netns: '',
    isDelegated,
  });
  const attachments = [
    attachment('b', ['10.0.0.10/24', '10.0.0.9/24']),
    attachment('a', ['fd00::1/64', '10.0.0.1/24']),
    attachment('a', ['10.0.0.0/24'], true),
  ];
  const rests = [{ network: 'a', ip: '10.0.0.2', sinceMs: 1000 }];
  const leases = leasesOf({ attachments, rests, nowMs: 3000, wallMs: 10_000 });
  expect(leases.map(({ network, address, since }) => [network, address, since])).toEqual([
    ['a', '10.0.0.1', ''],
    ['a', '10.0.0.2', '1970-01-01T00:00:08Z'],
    ['a', 'fd00::1', ''],
    ['b', '10.0.0.9', ''],
    ['b', '10.0.0.10', ''],
  ]);
});
