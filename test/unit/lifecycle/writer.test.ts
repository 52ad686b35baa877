import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Writer } from '../../../src/lifecycle/writer.ts';
import { FakeLockFile } from '../../fakes/lock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

/** One node with its daemons. `events` tells what they do to its rules, and a second writer at a time throws. */
class FakeNode {
  readonly lock = new FakeLockFile();
  readonly next = new FakeLockFile();
  readonly events: string[] = [];
  #writing: FakeDaemon | undefined;
  /** Whose socket answers. */
  listening: FakeDaemon | undefined;

  begin(daemon: FakeDaemon): void {
    if (this.#writing !== undefined) throw new Error(`${daemon.name} writes while ${this.#writing.name} does`);
    this.#writing = daemon;
    this.listening = daemon;
    this.events.push(`${daemon.name} writes`);
  }

  end(daemon: FakeDaemon): void {
    if (this.#writing !== daemon) return;
    this.#writing = undefined;
    this.events.push(`${daemon.name} drained`);
  }

  kill(daemon: FakeDaemon): void {
    if (this.#writing === daemon) this.#writing = undefined;
    if (this.listening === daemon) this.listening = undefined;
    this.events.push(`${daemon.name} killed`);
    this.lock.kill(daemon.pid);
    this.next.kill(daemon.pid);
  }
}

/** A daemon on it: a Writer with everything around it. */
class FakeDaemon {
  readonly name: string;
  readonly pid: number;
  readonly log = recordedLog();
  readonly stop = new AbortController();
  readonly writer: Writer;
  readonly prepared = Promise.withResolvers<void>();
  /** A sync that is under way when it is told to drain. */
  sync: Promise<void> = Promise.resolve();
  /** Stopped (SIGSTOP): requests are not answered. */
  isHung = false;
  asks = 0;
  readonly sleeps: number[] = [];
  readonly #wakes: (() => void)[] = [];
  readonly ended: Promise<string>;

  constructor(node: FakeNode, name: string, { isPrepared = true, startFailure = '' } = {}) {
    this.name = name;
    this.pid = name.charCodeAt(0);
    if (isPrepared) this.prepared.resolve();
    this.writer = new Writer({
      lock: node.lock.openedBy(this.pid),
      next: node.next.openedBy(this.pid),
      prepare: () => this.prepared.promise,
      ask: signal => this.#ask(node, signal),
      startTenure: async () => {
        if (startFailure !== '') throw new Error(startFailure);
        node.begin(this);
        return {
          drain: async () => {
            await this.sync;
            node.end(this);
          },
          [Symbol.asyncDispose]: async () => {
            if (node.listening === this) node.listening = undefined;
          },
        };
      },
      log: this.log,
      sleep: (ms, signal) => this.#sleep(ms, signal),
    });
    this.ended = this.writer.run(this.stop.signal).then(
      () => 'ended',
      (error: unknown) => String(error),
    );
  }

  /** The wait before it asks again is over. */
  wake(): void {
    this.#wakes.shift()?.();
  }

  async #ask(node: FakeNode, signal: AbortSignal): Promise<void> {
    this.asks += 1;
    const holder = node.listening;
    if (holder === undefined) throw new Error('connect ENOENT');
    if (holder.isHung) throw new Error('no answer for 5 s');
    signal.throwIfAborted();
    await holder.writer.handOver();
  }

  #sleep(ms: number, signal: AbortSignal): Promise<void> {
    this.sleeps.push(ms);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wakes.push(resolve);
    signal.addEventListener('abort', () => resolve());
    return promise;
  }
}

let node: FakeNode;
let daemons: FakeDaemon[];
beforeEach(() => {
  node = new FakeNode();
  daemons = [];
});
afterEach(async () => {
  for (const daemon of daemons) daemon.stop.abort();
  // Those that a test killed wait for ever.
  await settle();
});

function start(name: string, options?: { isPrepared?: boolean; startFailure?: string }): FakeDaemon {
  const daemon = new FakeDaemon(node, name, options);
  daemons.push(daemon);
  return daemon;
}

/** Lets everything happen that waits for nothing. */
function settle(): Promise<void> {
  return new Promise(resolve => setImmediate(() => setImmediate(resolve)));
}

function eventually(check: () => void): Promise<void> {
  return vi.waitFor(check, { interval: 1 });
}

/** A daemon that writes. */
async function startWriting(name: string): Promise<FakeDaemon> {
  const daemon = start(name);
  await eventually(() => expect(node.events.at(-1)).toBe(`${name} writes`));
  return daemon;
}

describe('Writer', () => {
  test('alone on the node: writes at once, before it is prepared', async () => {
    const a = start('a', { isPrepared: false });
    await settle();
    expect(node.events).toEqual(['a writes']);
    expect(a.writer.isWriting).toBe(true);
    expect(a.asks).toBe(0);
    a.stop.abort();
    expect(await a.ended).toBe('ended');
    expect(node.events).toEqual(['a writes', 'a drained']);
    expect(node.lock.ownerPid).toBeUndefined();
  });

  test('a new one asks only when it could write; the old one finishes its sync first, and stands by', async () => {
    const a = await startWriting('a');
    const sync = Promise.withResolvers<void>();
    a.sync = sync.promise;
    const b = start('b', { isPrepared: false });
    await settle();
    expect(b.asks).toBe(0);
    b.prepared.resolve();
    await eventually(() => expect(b.asks).toBe(1));
    await settle();
    expect(node.events).toEqual(['a writes']);
    sync.resolve();
    await eventually(() => expect(node.events).toEqual(['a writes', 'a drained', 'b writes']));
    await settle();
    expect(a.asks).toBe(0);
    expect(a.writer.isWriting).toBe(false);
    expect(a.log.lines).toContain(
      'info handed over: this process stands by, ready to write again when the other one ends',
    );
  });

  test('the stand-by takes over when the writer is killed or stops, and ends at once when told to', async () => {
    const a = await startWriting('a');
    const b = await startWriting('b');
    node.kill(b);
    await eventually(() => expect(node.events.slice(-2)).toEqual(['b killed', 'a writes']));
    const c = await startWriting('c');
    c.stop.abort();
    expect(await c.ended).toBe('ended');
    await eventually(() => expect(node.events.at(-1)).toBe('a writes'));
    const d = await startWriting('d');
    a.stop.abort();
    expect(await a.ended).toBe('ended');
    expect(d.writer.isWriting).toBe(true);
    expect(node.events.at(-1)).toBe('d writes');
  });

  test('of three the newest writes, though a stand-by waited longer', async () => {
    await startWriting('a');
    await startWriting('b');
    await startWriting('c');
    await settle();
    expect(node.events).toEqual(['a writes', 'a drained', 'b writes', 'b drained', 'c writes']);
    expect(daemons.map(({ writer }) => writer.isWriting)).toEqual([false, false, true]);
  });

  test('two that start at once: each writes in its turn, never both, and then it stays so', async () => {
    start('a');
    start('b');
    await eventually(() => expect(node.events).toHaveLength(3));
    await settle();
    expect(node.events).toEqual(['a writes', 'a drained', 'b writes']);
  });

  test('the one that asked is killed before it could write: the old one writes again', async () => {
    const a = await startWriting('a');
    const sync = Promise.withResolvers<void>();
    a.sync = sync.promise;
    const b = start('b');
    await eventually(() => expect(b.asks).toBe(1));
    node.kill(b);
    sync.resolve();
    await eventually(() => expect(node.events).toEqual(['a writes', 'b killed', 'a drained', 'a writes']));
  });

  test('the one that waits takes over when the writer dies, prepared or not', async () => {
    const a = await startWriting('a');
    start('b', { isPrepared: false });
    await settle();
    node.kill(a);
    await eventually(() => expect(node.events).toEqual(['a writes', 'a killed', 'b writes']));
  });

  test('one that does not answer is asked again with growing waits, and the log says what to do', async () => {
    const a = await startWriting('a');
    a.isHung = true;
    const b = start('b');
    for (const count of [1, 2, 3]) {
      await eventually(() => expect(b.sleeps).toHaveLength(count));
      b.wake();
    }
    await eventually(() => expect(b.sleeps).toEqual([1000, 2000, 4000, 8000]));
    expect(b.log.lines).toContain(
      "warn kproxy-ts test (process 97) doesn't hand over: no answer for 5 s; asking again; its rules stay, and if it hangs, end it: the lock goes with it",
    );
    a.isHung = false;
    b.wake();
    await eventually(() => expect(node.events).toEqual(['a writes', 'a drained', 'b writes']));
  });

  test('one that does not answer and is killed is succeeded at once', async () => {
    const a = await startWriting('a');
    a.isHung = true;
    const b = start('b');
    await eventually(() => expect(b.sleeps).toEqual([1000]));
    node.kill(a);
    await eventually(() => expect(node.events).toEqual(['a writes', 'a killed', 'b writes']));
  });

  test('what keeps a tenure from starting ends the process, and the one before writes again', async () => {
    await startWriting('a');
    const b = start('b', { startFailure: 'the address is in use' });
    expect(await b.ended).toBe('Error: the address is in use');
    await eventually(() => expect(node.events).toEqual(['a writes', 'a drained', 'a writes']));
  });

  test.for(['unprepared', 'asking', 'standing by'] as const)(
    'one that is %s ends at once when told to',
    async stage => {
      const a = await startWriting('a');
      a.isHung = stage === 'asking';
      const b = start('b', { isPrepared: stage !== 'unprepared' });
      if (stage === 'asking') await eventually(() => expect(b.asks).toBe(1));
      if (stage === 'standing by') await eventually(() => expect(b.writer.isWriting).toBe(true));
      await settle();
      const waiting = stage === 'standing by' ? a : b;
      waiting.stop.abort();
      expect(await waiting.ended).toBe('ended');
      expect(daemons.filter(({ writer }) => writer.isWriting)).toEqual([waiting === a ? b : a]);
      expect(node.next.ownerPid).toBeUndefined();
    },
  );

  test('a daemon that only waits cannot hand over', async () => {
    await startWriting('a');
    const b = start('b', { isPrepared: false });
    await settle();
    await expect(b.writer.handOver()).rejects.toThrow('not the writer');
  });
});
