import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseRangeSets, type RangeSet } from '../../../../src/cni/config/ranges.ts';
import { type Attachment, addressOf } from '../../../../src/cni/ipam/attachment.ts';
import type { Reservation, Rest } from '../../../../src/cni/ipam/book.ts';
import { adoptableLeases, readHostLocalLeases } from '../../../../src/cni/ipam/host-local.ts';
import { copyOf } from '../../../../src/cni/ipam/kept-attachment.ts';
import { AttachmentStore, type OpenOutcome, type StoreOptions } from '../../../../src/cni/ipam/store.ts';
import { type AttachmentId, CODE, type HostPort } from '../../../../src/cni/types.ts';

const setsOf = (subnet: string): readonly RangeSet[] => parseRangeSets({ ipam: { subnet }, podCIDRs: undefined });
const idOf = (containerID: string, network = 'kp', ifname = 'eth0'): AttachmentId => ({ network, containerID, ifname });

const reservation = (containerID: string, more: Partial<Reservation> = {}): Reservation => ({
  id: idOf(containerID),
  createdAt: 1_700_000_000_000,
  rangeSets: setsOf('10.0.0.0/24'),
  requested: [],
  hostPorts: [],
  config: { name: 'kp', mtu: 1500 },
  netns: `/run/netns/${containerID}`,
  pod: { namespace: 'default', name: containerID, uid: 'u' },
  ...more,
});

const port = (hostPort: number, more: Partial<HostPort> = {}): HostPort => ({
  hostIP: '',
  hostPort,
  protocol: 'tcp',
  containerPort: 80,
  ...more,
});

let directory = '';
let nowMs = 0;
let outcomes: OpenOutcome[] = [];
const opened: AttachmentStore[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cni-store-'));
  nowMs = 1_000_000;
  outcomes = [];
});

afterEach(() => {
  for (const store of opened.splice(0)) store[Symbol.dispose]();
  rmSync(directory, { recursive: true });
});

function open(more: Partial<StoreOptions> = {}): AttachmentStore {
  const options = {
    directory,
    bootId: 'boot-1',
    now: () => nowMs,
    onOpen: (outcome: OpenOutcome) => void outcomes.push(outcome),
  };
  const store = AttachmentStore.open({ ...options, ...more });
  opened.push(store);
  return store;
}

/** As after kill -9: the next store has what is on disk. */
function reopen(store: AttachmentStore, more: Partial<StoreOptions> = {}): AttachmentStore {
  store[Symbol.dispose]();
  return open(more);
}

const addressesOf = ({ addresses }: Attachment) => addresses.map(addressOf);
const plain = (attachments: readonly Attachment[]) => attachments.map(copyOf);
const byAddress = (rests: readonly Rest[]) => rests.toSorted((a, b) => (a.ip < b.ip ? -1 : 1));
const databasePath = () => join(directory, 'cni.db');

describe('the store of attachments', () => {
  test('what was reserved and made ready is there for the next agent, as it was', async () => {
    const store = open();
    const reserved = await store.reserve(reservation('c1', { hostPorts: [port(8080)] }));
    expect(reserved).toMatchObject({ state: 'intent', addresses: [{ address: '10.0.0.2/24', gateway: '10.0.0.1' }] });
    await store.ready(idOf('c1'), { hostLink: 'veth1', mac: '02:00:00:00:00:01', netnsId: '4:17' });
    const before = plain(store.all());
    expect(before[0]).toMatchObject({ state: 'ready', hostLink: 'veth1', config: { name: 'kp', mtu: 1500 } });
    const next = reopen(store);
    expect(plain(next.all())).toEqual(before);
    expect(next.holderOf('kp', '10.0.0.2')?.id).toEqual(idOf('c1'));
    expect(outcomes.map(({ kind }) => kind)).toEqual(['new', 'same-boot']);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
  });

  test('I01 the search goes on behind the last address after a restart of the agent', async () => {
    const store = open();
    await store.reserve(reservation('c1'));
    await store.release(idOf('c1'));
    nowMs += 1_000_000;
    expect(addressesOf(await reopen(store).reserve(reservation('c2')))).toEqual(['10.0.0.3']);
  });

  test('I09 an address rests over a restart of the agent too, and never longer than the cool-down', async () => {
    const small = { rangeSets: setsOf('10.0.0.0/30') };
    const store = open();
    await store.reserve(reservation('c1', small));
    await store.release(idOf('c1'));
    nowMs += 100_000;
    const next = reopen(store);
    expect(next.rests()).toEqual([{ network: 'kp', ip: '10.0.0.2', sinceMs: 1_000_000 }]);
    nowMs += 30_000;
    await next.reserve(reservation('c2', { rangeSets: setsOf('10.9.0.0/24') }));
    expect(next.rests()).toEqual([]);
    expect(reopen(next).rests()).toEqual([]);
  });

  test('I09 a clock that is behind what was written lets an address rest from now on', async () => {
    const store = open();
    await store.reserve(reservation('c1'));
    await store.release(idOf('c1'));
    nowMs = 5;
    expect(reopen(store).rests()).toEqual([{ network: 'kp', ip: '10.0.0.2', sinceMs: 5 }]);
  });

  test('F12 a clock of the day that jumps by a day changes neither leases nor rests', async () => {
    const store = open();
    await store.reserve(reservation('c1'));
    await store.reserve(reservation('c2'));
    await store.release(idOf('c2'));
    for (const jump of [-86_400_000, 86_400_000]) {
      const next = reopen(opened.at(-1)!, { wallClock: () => Date.now() + jump });
      expect(next.size).toBe(1);
      expect(next.rests()).toHaveLength(1);
    }
  });

  test('I07 two networks have pools of their own', async () => {
    const store = open();
    const [one, other] = await Promise.all([
      store.reserve(reservation('c1')),
      store.reserve(reservation('c1', { id: idOf('c1', 'other') })),
    ]);
    expect(addressesOf(one)).toEqual(addressesOf(other));
    expect(store.byNetwork('other').map(({ id }) => id)).toEqual([idOf('c1', 'other')]);
  });

  test('I07 an address of the Node is given once, whatever the network of a pod is called', async () => {
    const of = (containerID: string, network: string, more: Partial<Reservation> = {}) =>
      reservation(containerID, {
        id: idOf(containerID, network),
        isOfNode: true,
        rangeSets: setsOf('10.0.0.0/29'),
        ...more,
      });
    const first = open();
    await first.reserve(of('c1', 'kp'));
    await first.reserve(of('c2', 'kp'));
    await first.release(idOf('c2'));
    await first.reserve(of('own', 'own', { isOfNode: false }));
    const store = reopen(first);
    expect(addressesOf(await store.reserve(of('c3', 'renamed')))).toEqual(['10.0.0.4']);
    await expect(store.reserve(of('c4', 'renamed', { requested: ['10.0.0.2'] }))).rejects.toMatchObject({
      code: CODE.addressTaken,
      message: expect.stringContaining('kp/c1/eth0'),
    });
    const more = [await store.reserve(of('c5', 'renamed')), await store.reserve(of('c6', 'third'))];
    expect(more.flatMap(addressesOf)).toEqual(['10.0.0.5', '10.0.0.6']);
    expect(store.rests()).toMatchObject([{ network: 'kp', ip: '10.0.0.3' }]);
    // The other network's, which has rested longest, goes before none.
    expect(addressesOf(await store.reserve(of('c7', 'renamed')))).toEqual(['10.0.0.3']);
    expect(store.rests()).toEqual([]);
    await expect(store.reserve(of('c8', 'third'))).rejects.toMatchObject({ code: CODE.noAddress });
    await store.release(idOf('c1'));
    expect(store.hasAddresses('third', setsOf('10.0.0.0/29'), true)).toBe(false); // `own` still has it
    await store.release(idOf('own', 'own'));
    expect(addressesOf(await store.reserve(of('c9', 'third')))).toEqual(['10.0.0.2']);
    expect(reopen(store).rests()).toEqual([]);
  });

  test("I07 host-local's leases are held, and go with their files when their pods do", async () => {
    const dataDir = join(directory, 'networks');
    mkdirSync(join(dataDir, 'kp'), { recursive: true });
    const file = (name: string, text: string) => writeFileSync(join(dataDir, 'kp', name), text);
    file('10.0.0.2', 'c1\r\neth0');
    file('10.0.0.3', ' old \n');
    file('10.0.0.4', '');
    file('fd00::2', 'c1\r\neth0');
    file('lock', '');
    file('last_reserved_ip.0', '10.0.0.3');
    writeFileSync(join(dataDir, 'stray'), 'x');
    const store = open();
    const leases = readHostLocalLeases(dataDir, 'kp');
    expect(leases.map(({ ip, containerID, ifname }) => [ip, containerID, ifname]).toSorted()).toEqual([
      ['10.0.0.2', 'c1', 'eth0'],
      ['10.0.0.3', 'old', ''],
      ['fd00::2', 'c1', 'eth0'],
    ]);
    for (const attachment of adoptableLeases(leases)) await store.adopt(attachment);
    expect(store.size).toBe(2);
    expect(addressesOf(await store.reserve(reservation('new')))).toEqual(['10.0.0.4']);
    const next = reopen(store);
    await next.release(idOf('c1'));
    expect(await next.release(idOf('old', 'kp', 'net7'))).toMatchObject({ id: idOf('old', 'kp', '') });
    expect(readdirSync(join(dataDir, 'kp')).toSorted()).toEqual(['10.0.0.4', 'last_reserved_ip.0', 'lock']);
    expect(readHostLocalLeases(join(directory, 'none'), 'kp')).toEqual([]);
    expect(readHostLocalLeases(dataDir, 'stray')).toEqual([]);
  });

  test('I04 P02 what is taken is refused by the name of the holder, and leaves nothing behind', async () => {
    const store = open();
    await store.reserve(
      reservation('c1', { hostPorts: [port(8080), port(53, { hostIP: '192.0.2.1', protocol: 'udp' })] }),
    );
    await expect(store.reserve(reservation('c2', { requested: ['10.0.0.2'] }))).rejects.toMatchObject({
      code: CODE.addressTaken,
      message: '10.0.0.2 is held by kp/c1/eth0 (pod default/c1)',
    });
    const other = { id: idOf('c3', 'other') };
    await expect(
      store.reserve(reservation('c3', { ...other, hostPorts: [port(8080, { hostIP: '192.0.2.1' })] })),
    ).rejects.toMatchObject({
      code: CODE.portTaken,
      message: 'hostPort 192.0.2.1:8080/tcp is held by kp/c1/eth0 (pod default/c1)',
    });
    for (const hostIP of ['', '0.0.0.0', '192.0.2.1']) {
      const hostPorts = [port(53, { hostIP, protocol: 'udp' })];
      await expect(store.reserve(reservation('c3', { hostPorts }))).rejects.toMatchObject({ code: CODE.portTaken });
    }
    await expect(
      store.reserve(reservation('c3', { hostPorts: [port(1), port(1, { hostIP: '0.0.0.0' })] })),
    ).rejects.toThrow('asked for twice');
    await expect(store.reserve(reservation('c1'))).rejects.toMatchObject({ code: CODE.exists });
    expect(store.size).toBe(1);
    const hostPorts = [port(8080, { protocol: 'udp' }), port(53, { hostIP: '192.0.2.2', protocol: 'udp' })];
    expect(addressesOf(await store.reserve(reservation('c4', { hostPorts })))).toEqual(['10.0.0.3']);
  });

  test('P02 each family has its ports for itself', async () => {
    const store = open();
    const six = { rangeSets: setsOf('fd00::/64') };
    const both = { rangeSets: [...setsOf('10.0.0.0/24'), ...setsOf('fd00::/64')] };
    const [any4, any6, one6] = ['0.0.0.0', '::', '2001:db8::1'].map(hostIP => port(80, { hostIP }));
    await store.reserve(reservation('c1', { ...both, hostPorts: [any4!] }));
    await store.reserve(reservation('c2', { ...both, hostPorts: [one6!] }));
    for (const hostPorts of [[any6!], [port(80)]]) {
      await expect(store.reserve(reservation('c3', { ...both, hostPorts }))).rejects.toThrow(
        /is held by kp\/c[12]\/eth0/,
      );
    }
    await store.release(idOf('c2'));
    await store.reserve(reservation('c3', { ...six, hostPorts: [port(80)] }));
    await store.release(idOf('c3'));
    await store.release(idOf('c1'));
    await store.reserve(reservation('c1', { ...both, hostPorts: [any4!, any6!] }));
    const next = reopen(store);
    expect(next.holderOfPort(one6!, new Set(['IPv6']))?.id).toEqual(idOf('c1'));
    expect(next.holderOfPort(one6!, new Set(['IPv4']))).toBeUndefined();
    await next.release(idOf('c1'));
    expect(next.holderOfPort(one6!, new Set(['IPv6']))).toBeUndefined();
  });

  test('P06 a port is free at once when its pod is gone, also after a restart', async () => {
    const store = open();
    await store.reserve(reservation('c1', { hostPorts: [port(8080)] }));
    const next = reopen(store);
    await expect(next.reserve(reservation('c2', { hostPorts: [port(8080)] }))).rejects.toThrow('c1');
    await next.release(idOf('c1'));
    await next.reserve(reservation('c2', { hostPorts: [port(8080)] }));
  });

  test("D01 a release of what isn't there is none, and one can be repeated", async () => {
    const store = open();
    expect(await store.release(idOf('none'))).toBeUndefined();
    await store.reserve(reservation('c1'));
    expect(await store.release(idOf('c1'))).toMatchObject({ id: idOf('c1') });
    expect(await store.release(idOf('c1'))).toBeUndefined();
    expect(plain(reopen(store).all())).toEqual([]);
  });

  test('addresses of another IPAM plugin are kept and in no pool', async () => {
    const store = open();
    const delegated = [{ address: '10.0.0.2/24' }];
    const kept = await store.reserve(reservation('c1', { rangeSets: [], delegated }));
    expect(kept).toMatchObject({ addresses: delegated, isDelegated: true });
    expect(addressesOf(await store.reserve(reservation('c2')))).toEqual(['10.0.0.2']);
    await store.release(idOf('c1'));
    expect(store.rests()).toEqual([]);
  });

  test('an address that rests can be given at once after endRest', async () => {
    const store = open();
    await store.reserve(reservation('c1'));
    await store.release(idOf('c1'));
    expect(store.endRest('kp', '10.0.0.2')).toBe(true);
    expect(store.endRest('kp', '10.0.0.2')).toBe(false);
    expect(reopen(store).rests()).toEqual([]);
  });

  test('all changes of one turn are one transaction', async () => {
    const store = open();
    await store.reserve(reservation('c0'));
    const before = statSync(`${databasePath()}-wal`).size;
    await Promise.all(Array.from({ length: 50 }, (_, i) => store.reserve(reservation(`c${i + 1}`))));
    // A page of WAL for each of some pages, not some for each change.
    expect((statSync(`${databasePath()}-wal`).size - before) / 4120).toBeLessThan(20);
  });

  test('F08 of another boot nothing is left: the whole pool is free, and lease files go', async () => {
    const store = open();
    const file = join(directory, '10.0.0.9');
    writeFileSync(file, 'c9');
    await store.reserve(reservation('c1', { hostPorts: [port(8080)] }));
    await store.adopt({
      ...reservation('c9'),
      state: 'ready',
      addresses: [{ address: '10.0.0.9/24' }],
      leaseFiles: [file],
    });
    await store.reserve(reservation('c2'));
    await store.release(idOf('c2'));
    const next = reopen(store, { bootId: 'boot-2' });
    expect(outcomes.at(-1)).toMatchObject({ kind: 'other-boot', intents: [], dropped: [{}, {}] });
    expect(next.size).toBe(0);
    expect(next.rests()).toEqual([]);
    expect(existsSync(file)).toBe(false);
    expect(addressesOf(await next.reserve(reservation('c3', { hostPorts: [port(8080)] })))).toEqual(['10.0.0.2']);
    expect(reopen(next, { bootId: 'boot-2' }).size).toBe(1);
  });

  test('intents that an agent left behind are named', async () => {
    const store = open();
    await store.reserve(reservation('c1'));
    await store.reserve(reservation('c2'));
    await store.ready(idOf('c2'));
    reopen(store);
    expect(outcomes.at(-1)?.intents.map(({ id }) => id.containerID)).toEqual(['c1']);
  });

  test('a second process is told to try again, and can when the first has ended', async () => {
    const store = open();
    await store.reserve(reservation('c1'));
    expect(() => open()).toThrow(expect.objectContaining({ code: CODE.tryAgain }));
    expect(reopen(store).size).toBe(1);
  });
});

describe('a damaged database', () => {
  async function withOne(): Promise<void> {
    const store = open();
    await store.reserve(reservation('c1'));
    store[Symbol.dispose]();
  }

  const garbage = (bytes: number) => Buffer.alloc(bytes, 'garbage ');

  test.each<[string, () => void]>([
    ['garbage', () => writeFileSync(databasePath(), garbage(20_000))],
    ['an empty file', () => truncateSync(databasePath(), 0)],
    ['a torn file', () => truncateSync(databasePath(), 5000)],
    [
      'damaged pages',
      () =>
        writeFileSync(databasePath(), Buffer.concat([readFileSync(databasePath()).subarray(0, 4096), garbage(40_000)])),
    ],
    ['another schema', () => inDatabase(database => database.exec('PRAGMA user_version = 99'))],
    [
      'other tables',
      () => inDatabase(database => database.exec('DROP TABLE attachments; CREATE TABLE attachments (a)')),
    ],
  ])('%s is moved aside and told, and a new one begun', async (_, damage) => {
    await withOne();
    damage();
    const store = open();
    expect(store.problem).toBeUndefined();
    expect(outcomes.at(-1)).toMatchObject({
      kind: 'new',
      movedAside: { to: expect.stringContaining('cni.db.corrupt-') },
    });
    expect(existsSync(outcomes.at(-1)?.movedAside?.to ?? '')).toBe(true);
    await store.adopt({
      ...reservation('c1'),
      state: 'ready',
      addresses: [{ address: '10.0.0.2/24', gateway: '10.0.0.1' }],
    });
    expect(addressesOf(await store.reserve(reservation('c2')))).toEqual(['10.0.0.3']);
    expect(reopen(store).size).toBe(2);
  });

  function inDatabase(step: (database: DatabaseSync) => void): void {
    const database = new DatabaseSync(databasePath());
    step(database);
    database.close();
  }

  test('F07 a garbage row is skipped, told and gone; the rest is intact', async () => {
    const store = open();
    for (const name of ['c1', 'c2', 'c3', 'c4', 'c5']) await store.reserve(reservation(name));
    store[Symbol.dispose]();
    inDatabase(database => {
      database.exec("UPDATE attachments SET value = 'x' WHERE container = 'c1'");
      database.exec(`UPDATE attachments SET value = '{"state":"ready"}' WHERE container = 'c2'`);
      database.exec("UPDATE attachments SET value = x'00' WHERE container = 'c3'");
      database.exec(
        "UPDATE attachments SET value = (SELECT value FROM attachments WHERE container = 'c5') WHERE container = 'c4'",
      );
      database.exec("INSERT INTO rests VALUES ('kp', 'nonsense', 1), ('kp', '10.0.0.77', 'x')");
      database.exec("UPDATE last_given SET address = 'nonsense'");
    });
    const next = open();
    expect(outcomes.at(-1)?.badRows.map(({ key }) => key[1])).toEqual(['c1', 'c2', 'c3', 'c5']);
    expect(next.all().map(({ id }) => id.containerID)).toEqual(['c4']);
    expect(addressesOf(await next.reserve(reservation('c6')))).toEqual(['10.0.0.2']);
    const last = reopen(next);
    expect(outcomes.at(-1)?.badRows).toEqual([]);
    expect(last.size).toBe(2);
  });

  test('a file removed or replaced under the store is written anew from memory', async () => {
    const store = open();
    await store.reserve(reservation('c1'));
    rmSync(directory, { recursive: true });
    await store.reserve(reservation('c2'));
    expect(outcomes.at(-1)?.kind).toBe('rewritten');
    rmSync(databasePath());
    writeFileSync(databasePath(), garbage(9000));
    await store.ready(idOf('c1'));
    expect(outcomes.at(-1)).toMatchObject({ kind: 'rewritten', movedAside: {} });
    expect(
      reopen(store)
        .all()
        .map(({ state }) => state),
    ).toEqual(['ready', 'intent']);
  });
});

describe('F06 a disk that refuses', () => {
  test('a directory that cannot be made: nothing is reserved nor held until it can', async () => {
    const blocked = join(directory, 'file');
    writeFileSync(blocked, '');
    const store = open({ directory: join(blocked, 'state') });
    expect(store.problem).toContain('state directory');
    await expect(store.reserve(reservation('c1', { hostPorts: [port(8080)] }))).rejects.toMatchObject({
      code: CODE.storage,
    });
    expect(await store.release(idOf('c1'))).toBeUndefined();
    expect(store.recover()).toBeDefined();
    expect([store.size, store.rests(), outcomes]).toEqual([0, [], []]);
    rmSync(blocked);
    expect(store.recover()).toBeUndefined();
    expect(addressesOf(await store.reserve(reservation('c1', { hostPorts: [port(8080)] })))).toEqual(['10.0.0.2']);
  });

  test('what was released before the file could be read is released when it is', async () => {
    const store = open();
    await store.reserve(reservation('c1'));
    store[Symbol.dispose]();
    const away = `${directory}-away`;
    rmSync(away, { recursive: true, force: true });
    const { renameSync } = await import('node:fs');
    renameSync(directory, away);
    writeFileSync(directory, '');
    const next = open();
    await next.release(idOf('c1'));
    rmSync(directory);
    renameSync(away, directory);
    expect(next.recover()).toBeUndefined();
    expect(next.size).toBe(0);
    expect(next.rests()).toHaveLength(1);
  });
});

describe('the store against a model', () => {
  const CONTAINERS = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];

  test('ADD, DEL and restarts in any order: no address twice, and the disk says what memory says', async () => {
    const step = fc.record({
      kind: fc.constantFrom('add', 'add', 'del', 'ready', 'restart', 'wait'),
      container: fc.constantFrom(...CONTAINERS),
      hostPort: fc.constantFrom(0, 0, 80, 81),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async steps => {
        const place = mkdtempSync(join(directory, 'model-'));
        let store = open({ directory: place });
        const model = new Map<string, { ip: string; hostPort: number }>();
        const running: Promise<unknown>[] = [];
        for (const { kind, container, hostPort } of steps) {
          if (kind === 'wait') nowMs += 70_000;
          if (kind === 'restart') {
            await Promise.allSettled(running);
            store = reopen(store, { directory: place });
          }
          if (kind === 'ready') running.push(store.ready(idOf(container)));
          if (kind === 'del') {
            model.delete(container);
            running.push(store.release(idOf(container)));
          }
          if (kind !== 'add') continue;
          const hostPorts = hostPort === 0 ? [] : [port(hostPort)];
          const isPortTaken = hostPort !== 0 && [...model.values()].some(other => other.hostPort === hostPort);
          const isRefused = model.has(container) || isPortTaken || model.size === 5;
          const adding = store.reserve(reservation(container, { hostPorts, rangeSets: setsOf('10.0.0.0/29') }));
          running.push(adding);
          const kept = store.get(idOf(container));
          if (isRefused) await expect(adding).rejects.toThrow();
          else model.set(container, { ip: addressesOf(kept!)[0] ?? '', hostPort });
          expect(new Set([...model.values()].map(({ ip }) => ip)).size).toBe(model.size);
        }
        await Promise.allSettled(running);
        const inMemory = plain(store.all());
        const rests = store.rests();
        store = reopen(store, { directory: place });
        const byKey = (list: readonly Attachment[]) => new Map(list.map(item => [item.id.containerID, item]));
        expect(byKey(plain(store.all()))).toEqual(byKey(inMemory));
        expect(byAddress(store.rests())).toEqual(byAddress(rests));
        expect([...byKey(inMemory)].map(([container, item]) => [container, addressesOf(item)[0]]).toSorted()).toEqual(
          [...model].map(([container, { ip }]) => [container, ip]).toSorted(),
        );
        store[Symbol.dispose]();
      }),
      { numRuns: 60 },
    );
  });
});
