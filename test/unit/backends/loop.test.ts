import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Backend } from '../../../src/backends/backend.ts';
import { diff, isEmpty, patch } from '../../../src/backends/diff.ts';
import { createIptablesBackend } from '../../../src/backends/iptables/backend.ts';
import type { IptablesObject } from '../../../src/backends/iptables/objects.ts';
import { SyncLoop } from '../../../src/backends/loop.ts';
import type { SyncReport, SyncTiming } from '../../../src/backends/sync-report.ts';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import type { EndpointSlice, Service } from '../../../src/watch/objects.ts';
import { FakeIptables } from '../../fakes/iptables.ts';
import { IPTABLES_OPTIONS, service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';

const node = { name: 'node-a', zone: '' };
const loops: SyncLoop<IptablesObject>[] = [];

afterEach(async () => {
  for (const loop of loops.splice(0)) await loop.close();
});

/** A loop over the fake kernel whose cluster is set by the test; `next` waits for the sync or error after now. */
function start(
  kernel: FakeIptables,
  options: { timing?: Partial<SyncTiming>; tidy?: NonNullable<Backend<IptablesObject>['tidy']> } = {},
) {
  let model = emptyModel('IPv4', node);
  let snap = snapshot([]);
  let dirty: string[] = [];
  const waiting: ((event: SyncReport | Error) => void)[] = [];
  const tell = (event: SyncReport | Error) => {
    for (const resolve of waiting.splice(0)) resolve(event);
  };
  const loop = new SyncLoop({
    backend: {
      ...createIptablesBackend(() => IPTABLES_OPTIONS, kernel.io),
      ...(options.tidy && { tidy: options.tidy }),
    },
    pull: () => {
      model = updateModel(model, snap, dirty, node);
      dirty = [];
      return model;
    },
    coalesceMs: () => 1,
    timing: () => ({ minSyncPeriodMs: 0, maxRetryMs: 1000, driftCheckMs: 60_000, ...options.timing }),
    now: () => performance.now(),
    onSync: tell,
    onError: error => tell(error as Error),
  });
  loops.push(loop);
  const next = () => new Promise<SyncReport | Error>(resolve => waiting.push(resolve));
  const set = (services: Service[], slices: EndpointSlice[] = []) => {
    dirty.push(...snap.services.keys());
    snap = snapshot(services, slices);
    dirty.push(...snap.services.keys());
    const done = next();
    loop.markDirty();
    return done;
  };
  return { loop, set, next };
}

describe('SyncLoop', () => {
  it('programs everything at first, then only what changed', async () => {
    const kernel = new FakeIptables();
    const { set } = start(kernel);
    const other = service({ name: 'other', clusterIPs: ['10.96.0.20'] });
    expect(await set([service(), other], [slice()])).toMatchObject({ isFull: true, failures: [] });
    const report = await set(
      [service(), other],
      [slice({ endpoints: [sliceEndpoint('10.244.1.2'), sliceEndpoint('10.244.1.3')] })],
    );
    expect(report).toMatchObject({ isFull: false, changes: 3 });
    expect(kernel.restores.at(-1)).not.toContain('other');
  });

  it('sends nothing for an event without effect', async () => {
    const kernel = new FakeIptables();
    const { set } = start(kernel);
    await set([service()], [slice()]);
    const before = kernel.restores.length;
    expect(await set([service()], [slice()])).toMatchObject({ changes: 0 });
    expect(kernel.restores.length).toBe(before);
  });

  it('lets changes wait for the least period, but not one that is urgent', async () => {
    const kernel = new FakeIptables();
    const { loop, set, next } = start(kernel, { timing: { minSyncPeriodMs: 60_000 } });
    await set([service()], [slice()]);
    const before = kernel.restores.length;
    // Would be programmed at once, were there no period.
    const waiting = set([service()], [slice({ endpoints: [sliceEndpoint('10.244.1.3')] })]);
    await expect(Promise.race([waiting, delay(50, 'waits')])).resolves.toBe('waits');
    expect(kernel.restores.length).toBe(before);
    loop.markUrgent();
    expect(await waiting).toMatchObject({ cause: 'change', failures: [] });
    expect(kernel.save('nat')).toContain('10.244.1.3');
    // It was urgent once only.
    const after = next();
    loop.markDirty();
    await expect(Promise.race([after, delay(50, 'waits')])).resolves.toBe('waits');
  });

  it('takes away what is not used any more beside the syncs, once a start', async () => {
    const tidied = Promise.withResolvers<void>();
    const tidy = vi.fn(() => tidied.promise);
    const { loop, set, next } = start(new FakeIptables(), { tidy });
    await set([service()], [slice()]);
    await vi.waitFor(() => expect(tidy).toHaveBeenCalledOnce());
    expect(await set([service()])).toMatchObject({ cause: 'change', failures: [] });
    const paused = loop.pause().then(() => 'paused');
    expect(await Promise.race([paused, delay(20, 'waits for it')])).toBe('waits for it');
    tidied.resolve();
    expect(await paused).toBe('paused');
    expect(tidy).toHaveBeenCalledOnce();
    const resumed = next();
    loop.resume();
    await resumed;
    await vi.waitFor(() => expect(tidy).toHaveBeenCalledTimes(2));
  });

  it('takes nothing away before everything is programmed', async () => {
    const kernel = new FakeIptables();
    const tidy = vi.fn(async () => undefined);
    const { set, next } = start(kernel, { tidy });
    kernel.refuse.add('10.96.0.20');
    const other = service({ name: 'other', clusterIPs: ['10.96.0.20'] });
    const report = await set([service(), other], [slice()]);
    expect((report as SyncReport).failures).not.toEqual([]);
    expect(tidy).not.toHaveBeenCalled();
    kernel.refuse.clear();
    expect(await next()).toMatchObject({ cause: 'recheck', failures: [] });
    await vi.waitFor(() => expect(tidy).toHaveBeenCalledOnce());
  });

  it('writes nothing while paused; afterwards it reads, and repairs what somebody else did meanwhile', async () => {
    const kernel = new FakeIptables();
    const { loop, set, next } = start(kernel);
    await set([service()], [slice()]);
    const rules = kernel.save('nat');
    await loop.pause();
    const before = kernel.restores.length;
    const resumed = set([service()], [slice()]);
    kernel.dropTable('nat');
    expect(await Promise.race([resumed, new Promise(resolve => setTimeout(resolve, 20, 'nothing'))])).toBe('nothing');
    expect(kernel.restores.length).toBe(before);
    loop.resume();
    expect(await next()).toMatchObject({ isFull: true, failures: [] });
    expect(kernel.save('nat')).toBe(rules);
  });

  it('adopts the rules that a predecessor left', async () => {
    const kernel = new FakeIptables();
    await start(kernel).set([service()], [slice()]);
    expect(await start(kernel).set([service()], [slice()])).toMatchObject({ isFull: true, changes: 0 });
  });

  it('coalesces a burst into one sync', async () => {
    const kernel = new FakeIptables();
    const { set, loop } = start(kernel);
    await set([service()], [slice()]);
    const before = kernel.restores.length;
    const done = set([service()], [slice({ endpoints: [sliceEndpoint('10.244.1.5')] })]);
    for (let i = 0; i < 100; i++) loop.markDirty();
    await done;
    expect(kernel.restores.length).toBe(before + 1);
  });

  it('programs the others when the kernel refuses one Service, and it too once the kernel takes it', async () => {
    const kernel = new FakeIptables();
    kernel.refuse.add('10.96.0.66');
    const { set, next } = start(kernel);
    const bad = service({ name: 'bad', clusterIPs: ['10.96.0.66'] });
    const report = (await set([service(), bad], [slice()])) as SyncReport;
    expect(report.failures.map(({ key }) => key)).toEqual([expect.stringContaining('10.96.0.66')]);
    expect(kernel.save('nat')).toContain('10.96.0.10/32');
    kernel.refuse.clear();
    expect(await next()).toMatchObject({ failures: [], isFull: true });
    expect(kernel.save('filter')).toContain('10.96.0.66');
  });

  it('keeps programming events while something is refused', async () => {
    const kernel = new FakeIptables();
    kernel.refuse.add('10.96.0.66');
    const { set } = start(kernel);
    const bad = service({ name: 'bad', clusterIPs: ['10.96.0.66'] });
    await set([service(), bad], [slice()]);
    const report = await set([service(), bad], [slice({ endpoints: [sliceEndpoint('10.244.1.7')] })]);
    expect(report).toMatchObject({ isFull: false, failures: [] });
    expect(kernel.save('nat')).toContain('10.244.1.7:8080');
  });

  it('tries again when the tool was missing, without losing the change', async () => {
    const kernel = new FakeIptables();
    const { set, next } = start(kernel);
    kernel.isMissing = true;
    expect(await set([service()], [slice()])).toBeInstanceOf(Error);
    kernel.isMissing = false;
    expect(await next()).toMatchObject({ isFull: true, failures: [] });
    expect(kernel.save('nat')).toContain('10.244.1.2:8080');
  });

  it('repairs what somebody else removed while it was failing', async () => {
    const kernel = new FakeIptables();
    const { set, next } = start(kernel);
    await set([service()], [slice()]);
    const jump = 'POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING';
    await kernel.run('iptables-nft-restore', ['--noflush'], { input: `*nat\n-D ${jump}\nCOMMIT\n` });
    kernel.isMissing = true;
    await set([service()], [slice({ endpoints: [sliceEndpoint('10.244.1.9')] })]);
    kernel.isMissing = false;
    await next();
    expect(kernel.save('nat')).toContain(`-A ${jump}`);
    expect(kernel.save('nat')).toContain('10.244.1.9:8080');
  });

  it('recovers from a table that somebody deleted, and leaves no rule twice', async () => {
    const kernel = new FakeIptables();
    const { set, next } = start(kernel);
    await set([service()], [slice()]);
    kernel.dropTable('nat');
    const other = (name: string, host: number) => service({ name, clusterIPs: [`10.96.0.${host}`] });
    const report = await set(
      [service(), other('c', 20), other('d', 21), other('e', 22)],
      [slice({ endpoints: [sliceEndpoint('10.244.1.9')] }), slice({ name: 'c-1', serviceName: 'c' })],
    );
    if (!(report instanceof Error) && report.failures.length > 0) await next();
    for (const table of ['nat', 'filter']) {
      const rules = kernel
        .save(table)
        .split('\n')
        .filter(line => line.startsWith('-A'));
      expect(rules).toEqual([...new Set(rules)]);
    }
    expect(kernel.save('nat')).toContain('10.244.1.9:8080');
  });

  it('takes away a rule that is there twice', async () => {
    const kernel = new FakeIptables();
    await start(kernel).set([service()], []);
    const refusal =
      kernel
        .save('filter')
        .split('\n')
        .find(line => line.includes('REJECT')) ?? '';
    await kernel.run('iptables-nft-restore', ['--noflush'], { input: `*filter\n${refusal}\nCOMMIT\n` });
    expect(await start(kernel).set([service()], [])).toMatchObject({ isFull: true, changes: 1 });
    expect(
      kernel
        .save('filter')
        .split('\n')
        .filter(line => line === refusal),
    ).toHaveLength(1);
  });

  it('says what somebody else removed, and only that, when it looks again after a refusal', async () => {
    const kernel = new FakeIptables();
    kernel.refuse.add('10.96.0.66');
    const { set, next } = start(kernel);
    const bad = service({ name: 'bad', clusterIPs: ['10.96.0.66'] });
    await set([service(), bad], [slice()]);
    const flush = '*nat\n:KUBE-POSTROUTING - [0:0]\nCOMMIT\n';
    await kernel.run('iptables-nft-restore', ['--noflush'], { input: flush });
    expect(await next()).toMatchObject({ cause: 'recheck', repaired: ['nat/KUBE-POSTROUTING'] });
    expect(kernel.save('nat')).toContain('-A KUBE-POSTROUTING');
  });

  it('starts nothing after close', async () => {
    const kernel = new FakeIptables();
    const { set, loop } = start(kernel);
    await set([service()], [slice()]);
    const before = kernel.restores.length;
    await loop.close();
    loop.markDirty();
    await new Promise(resolve => setImmediate(() => setTimeout(resolve, 10)));
    expect(kernel.restores.length).toBe(before);
  });

  it('pauses after the sync under way, notes what changes meanwhile, and compares everything when it resumes', async () => {
    const kernel = new FakeIptables();
    const { set, next, loop } = start(kernel);
    await set([service()], [slice()]);
    await loop.pause();
    const before = kernel.restores.length;
    const done = set([service()], [slice({ endpoints: [sliceEndpoint('10.244.1.9')] })]);
    kernel.dropTable('filter');
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(kernel.restores.length).toBe(before);
    expect(loop.queuedAtMs).toBeDefined();
    loop.resume();
    expect(await done).toMatchObject({ cause: 'start', isFull: true, failures: [] });
    expect(kernel.save('nat')).toContain('10.244.1.9:8080');
    expect(kernel.save('filter')).toContain('-A FORWARD');
    const changed = set([service()], []);
    expect(await changed).toMatchObject({ cause: 'change', isFull: false });
    loop.resume();
    await expect(Promise.race([next(), new Promise(resolve => setTimeout(resolve, 20))])).resolves.toBeUndefined();
  });

  it('cannot be resumed once closed', async () => {
    const kernel = new FakeIptables();
    const { set, loop } = start(kernel);
    await set([service()], [slice()]);
    const before = kernel.restores.length;
    await loop.close();
    loop.resume();
    loop.markDirty();
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(kernel.restores.length).toBe(before);
  });
});

/** Rejects with the signal's reason once it's there. */
async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
  signal.throwIfAborted();
}

/** A backend that holds text by key, can be changed by somebody else, and says what it was asked. */
function shelf() {
  const objects = new Map<string, string>();
  const asked: string[] = [];
  let isHeld = false;
  const backend: Backend<string> = {
    planRoute: () => new Map(),
    planShared: () =>
      new Map([
        ['a', 'A'],
        ['b', 'B'],
      ]),
    read: async () => {
      asked.push('read');
      return new Map(objects);
    },
    apply: async (changes, current, { signal } = {}) => {
      asked.push('apply');
      if (isHeld && signal !== undefined) await aborted(signal);
      patch(objects, changes);
      return { plan: patch(current, changes), failures: [] };
    },
    hasDrifted: async current => {
      asked.push('hasDrifted');
      return !isEmpty(diff(current, objects));
    },
    close: async () => undefined,
  };
  return { backend, objects, asked, hold: (held: boolean) => (isHeld = held) };
}

describe('SyncLoop over a table that cannot be printed', () => {
  it('programs changes as before, says so in its reports, and repairs drift once it can be read', async () => {
    const kernel = new FakeIptables();
    const { set, next } = start(kernel, { timing: { driftCheckMs: 20 } });
    await set([service()], [slice()]);
    kernel.isUnprintable = true;
    expect(await next()).toMatchObject({ cause: 'drift', changes: 0, unread: { name: 'UnreadableError' } });
    const report = await set([service()], [slice({ endpoints: [sliceEndpoint('10.244.1.9')] })]);
    expect(report).toMatchObject({ failures: [], unread: { message: expect.stringContaining('table nat') } });
    expect(kernel.save('nat')).toContain('10.244.1.9');
    kernel.dropTable('nat');
    kernel.isUnprintable = false;
    await vi.waitFor(() => expect(kernel.save('nat')).toContain('10.244.1.9'));
    expect(await set([])).toMatchObject({ unread: undefined });
  });

  it('starts only once it can be read', async () => {
    const kernel = new FakeIptables();
    kernel.isUnprintable = true;
    const { set, next } = start(kernel);
    expect(await set([service()], [slice()])).toMatchObject({ name: 'UnreadableError' });
    expect(kernel.restores).toEqual([]);
    kernel.isUnprintable = false;
    expect(await next()).toMatchObject({ failures: [], unread: undefined });
  });
});

describe('SyncLoop, looking for drift', () => {
  const model = emptyModel('IPv4', node);

  /** A loop over a shelf; `next` waits for the sync after now. */
  function startOn(backend: Backend<string>, timing: () => SyncTiming) {
    const reports: SyncReport[] = [];
    const errors: unknown[] = [];
    let tell = Promise.withResolvers<SyncReport>();
    const loop = new SyncLoop({
      backend,
      pull: () => model,
      coalesceMs: () => 1,
      timing,
      now: () => performance.now(),
      onSync: report => {
        reports.push(report);
        tell.resolve(report);
        tell = Promise.withResolvers();
      },
      onError: error => errors.push(error),
    });
    opened.push(loop);
    loop.markDirty();
    return { loop, reports, errors, next: () => tell.promise };
  }

  const opened: SyncLoop<string>[] = [];
  afterEach(async () => {
    for (const loop of opened.splice(0)) await loop.close();
  });
  const every = (driftCheckMs: number) => () => ({ minSyncPeriodMs: 0, maxRetryMs: 1000, driftCheckMs });

  it('reads nothing as long as nobody else wrote', async () => {
    const { backend, asked } = shelf();
    const { next, reports } = startOn(backend, every(3));
    await next();
    await vi.waitFor(() => expect(asked.filter(call => call === 'hasDrifted').length).toBeGreaterThan(3));
    expect(asked.filter(call => call !== 'hasDrifted')).toEqual(['read', 'apply']);
    expect(reports.map(({ cause }) => cause)).toEqual(['start']);
  });

  it('undoes what somebody else did and names it', async () => {
    const { backend, objects } = shelf();
    const { next } = startOn(backend, every(3));
    expect(await next()).toMatchObject({ cause: 'start', repaired: [], changes: 2 });
    objects.delete('a');
    objects.set('b', 'edited');
    objects.set('c', 'added');
    expect(await next()).toMatchObject({ cause: 'drift', isFull: true, repaired: ['a', 'b', 'c'] });
    expect(Object.fromEntries(objects)).toEqual({ a: 'A', b: 'B' });
  });

  it('takes a new period at the next event', async () => {
    const { backend, objects } = shelf();
    let periodMs = 3_600_000;
    const { next, loop, reports } = startOn(backend, () => every(periodMs)());
    await next();
    objects.delete('a');
    periodMs = 3;
    loop.markDirty();
    // On a busy machine the look is overdue before the event has had its turn, and then goes first.
    await vi.waitFor(() => expect(reports.map(({ cause }) => cause)).toContain('drift'));
  });

  it('waits even for a period that no timer can hold', async () => {
    const { backend, asked } = shelf();
    const { next } = startOn(backend, every(2 ** 40));
    await next();
    await new Promise(resolve => setTimeout(resolve, 20));
    expect(asked).not.toContain('hasDrifted');
  });

  it('lets an event go first, and looks after it', async () => {
    const { backend, asked } = shelf();
    const looking = Promise.withResolvers<void>();
    let looks = 0;
    const slow: Backend<string> = {
      ...backend,
      hasDrifted: async (_, { signal } = {}) => {
        looks += 1;
        if (looks > 1) return false;
        looking.resolve();
        if (signal !== undefined) await aborted(signal);
        return true;
      },
    };
    const { next, loop, reports, errors } = startOn(slow, every(250));
    await next();
    await looking.promise;
    loop.markDirty();
    expect(await next()).toMatchObject({ cause: 'change' });
    await vi.waitFor(() => expect(looks).toBeGreaterThan(1));
    expect(asked).toEqual(['read', 'apply']);
    expect(reports.map(({ cause }) => cause)).toEqual(['start', 'change']);
    expect(errors).toEqual([]);
  });

  it('pauses in the middle of a wait for others, without an error, and does the work once it resumes', async () => {
    const { backend, objects, asked, hold } = shelf();
    hold(true);
    const { next, loop, errors } = startOn(backend, every(3_600_000));
    await vi.waitFor(() => expect(asked).toContain('apply'));
    await loop.pause();
    expect(errors).toEqual([]);
    hold(false);
    loop.resume();
    expect(await next()).toMatchObject({ cause: 'start', changes: 2 });
    expect(objects.size).toBe(2);
  });
});
