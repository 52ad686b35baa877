import { existsSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { healthzPort, nodes } from '../../src/lab/layout.ts';
import { describeLab, eventually, handlesOf, labName } from './daemon-lab.ts';
import { ExtraDaemon, expectOneWriter, SlowTools } from './extra-daemon.ts';
import { Stage } from './fault-lab.ts';

const [node, other] = nodes;

describeLab('one writer on a node', () => {
  let lab: Lab;
  let stage: Stage;
  let tools: SlowTools;
  let daemons: ExtraDaemon[] = [];
  let started = 0;

  beforeAll(async () => {
    lab = await createLab({ name: labName('ho') });
    stage = await Stage.build(lab);
    tools = new SlowTools(lab);
    await lab.stopDaemon(node.name);
  });
  afterAll(async () => {
    await lab.close();
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') for (const daemon of daemons) console.error(daemon.story);
    tools.speedUp();
    const all = daemons;
    daemons = [];
    for (const daemon of all) await daemon.end('SIGKILL');
    expectOneWriter(all);
  });

  async function start(env: Record<string, string> = {}): Promise<ExtraDaemon> {
    started += 1;
    const daemon = await ExtraDaemon.start(lab, node.name, { name: `d${started}`, env });
    daemons.push(daemon);
    return daemon;
  }

  /** One that has the lock, and every rule in the kernel. */
  async function startReady(env: Record<string, string> = {}): Promise<ExtraDaemon> {
    const daemon = await start(env);
    await daemon.writes();
    await ready();
    return daemon;
  }

  async function ready(): Promise<void> {
    await eventually(() => lab.exec(node.name, ['curl', '-sf', `http://127.0.0.1:${healthzPort}/readyz`]));
  }

  /** The daemon writes, the rules follow the cluster, and new connections go where they should. */
  async function expectWriter(daemon: ExtraDaemon): Promise<void> {
    await daemon.writes();
    await ready();
    await stage.move();
    await stage.awaitMoved();
    await stage.expectMoved();
    expect(daemon.fate).toBe('');
    expect(daemons.filter(({ isWriting }) => isWriting).map(({ name }) => name)).toEqual([daemon.name]);
  }

  test('hand-overs to and fro under 1 000 connections a second lose none, write no rule again, and miss no change', async () => {
    const first = await startReady();
    const handles = await handlesOf(lab, node.name);
    const targets = stage.targetsOf();
    await using running = await lab.traffic(stage.clientOn(node).name, {
      targets: targets.inside,
      connectionsPerSecond: 600,
      held: 20,
    });
    await using outside = await lab.traffic('client', {
      targets: targets.outside,
      connectionsPerSecond: 200,
      held: 20,
    });
    await using remote = await lab.traffic(stage.clientOn(other).name, {
      targets: targets.inside,
      connectionsPerSecond: 200,
      held: 20,
    });
    const second = await startReady();
    expect(first.isWriting).toBe(false);
    expect(await handlesOf(lab, node.name)).toBe(handles);
    // Changes while the next one is on its way, whoever gets to program them.
    const third = await start();
    for (let move = 0; move < 10; move += 1) await stage.move();
    await third.writes();
    for (let move = 0; move < 5; move += 1) await stage.move();
    await stage.awaitMoved();
    await stage.expectMoved();
    expect(await third.end('SIGTERM')).toBe('exited with status 0');
    for (let move = 0; move < 5; move += 1) await stage.move();
    await stage.awaitMoved();
    await stage.expectMoved();
    expect([first, second].filter(({ isWriting }) => isWriting)).toHaveLength(1);
    for (const traffic of [running, outside, remote]) {
      const report = await traffic.stop();
      expect(report.failures).toEqual([]);
      expect(report).toMatchObject({ answered: report.opened, held: { opened: 20, failed: 0 } });
      expect(report.answered).toBeGreaterThan(200);
    }
    expect(await first.end()).toBe('exited with status 0');
    expect(await second.end()).toBe('exited with status 0');
  });

  test('without a change the rules are left alone, by each of three in turn', async () => {
    const [first, second] = [await startReady(), await startReady()];
    const handles = await handlesOf(lab, node.name);
    const third = await startReady();
    expect([first.isWriting, second.isWriting, third.isWriting]).toEqual([false, false, true]);
    await third.end();
    await eventually(() => expect([first.isWriting, second.isWriting].toSorted()).toEqual([false, true]));
    await ready();
    expect(await handlesOf(lab, node.name)).toBe(handles);
  });

  test('two that start at once: one writes, both live on', () =>
    stage.withoutLoss(async () => {
      const two = await Promise.all([start(), start()]);
      await eventually(() => {
        expect(two.filter(({ tenures }) => tenures.length > 0)).toHaveLength(2);
        // The one that handed over may say so a moment after the other says that it writes.
        expect(two.filter(({ isWriting }) => isWriting)).toHaveLength(1);
      });
      const [writer] = two.filter(({ isWriting }) => isWriting);
      await expectWriter(writer!);
      expect(two.map(({ fate }) => fate)).toEqual(['', '']);
    }));

  test('the next one is killed while the writer finishes a sync for it: the writer goes on', () =>
    stage.withoutLoss(async () => {
      const writer = await startReady(tools.env);
      const next = await start();
      await next.waits();
      await underWay();
      await next.says(/is asked to hand over/);
      await next.end('SIGKILL');
      tools.speedUp();
      await stage.awaitMoved();
      await expectWriter(writer);
    }));

  test('the next one is killed when it has the lock and is about to program: the one before takes it back', () =>
    stage.withoutLoss(async () => {
      const before = await startReady();
      const next = await startReady(tools.env);
      await before.waits();
      await underWay();
      await next.end('SIGKILL');
      tools.speedUp();
      await expectWriter(before);
    }));

  test('the writer is killed while it finishes a sync for the next one, which then completes it', () =>
    stage.withoutLoss(async () => {
      const writer = await startReady(tools.env);
      const next = await start();
      await next.waits();
      await underWay();
      await next.says(/is asked to hand over/);
      await writer.end('SIGKILL');
      tools.speedUp();
      await stage.awaitMoved();
      await expectWriter(next);
    }));

  test('a writer that is told to end finishes its sync first, and the stand-by takes over', () =>
    stage.withoutLoss(async () => {
      const before = await startReady();
      const writer = await startReady(tools.env);
      await underWay();
      const ended = writer.end('SIGTERM');
      await stage.awaitMoved();
      tools.speedUp();
      expect(await ended).toBe('exited with status 0');
      expect(writer.changedAt.at(-1)).toBeLessThanOrEqual(before.tenures.at(-1)?.from ?? 0);
      await expectWriter(before);
    }));

  test('one that hangs is named, with its pid; it hands over when it goes on, or is succeeded when it is killed', () =>
    stage.withoutLoss(async () => {
      const hung = await startReady();
      hung.signal('SIGSTOP');
      const next = await start();
      await next.says(new RegExp(`\\(process ${hung.pid}\\) doesn't hand over: no answer for 5 s; asking again`));
      expect(next.isWriting).toBe(false);
      hung.signal('SIGCONT');
      await expectWriter(next);
      next.signal('SIGSTOP');
      const last = await start();
      await last.waits();
      await next.end('SIGKILL');
      await eventually(() => expect([hung, last].filter(({ isWriting }) => isWriting)).toHaveLength(1));
      await ready();
    }));

  test('a stand-by and one that waits end at once when told to, and the writer does not notice', async () => {
    const standBy = await startReady();
    const writer = await startReady();
    writer.signal('SIGSTOP');
    const waiting = await start();
    await waiting.says(/is asked to hand over/);
    expect(await standBy.end('SIGTERM')).toBe('exited with status 0');
    expect(await waiting.end('SIGTERM')).toBe('exited with status 0');
    writer.signal('SIGCONT');
    await expectWriter(writer);
  });

  /** Slows the tools down and makes a change, so that the writer is in the middle of a sync. */
  async function underWay(): Promise<void> {
    tools.slowDown();
    await stage.move();
    await eventually(() => expect(existsSync(tools.busyFile)).toBe(true));
  }
});
