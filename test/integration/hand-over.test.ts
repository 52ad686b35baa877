import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { healthzPort, nodes } from '../../src/lab/layout.ts';
import { describeLab, eventually, handlesOf, labName } from './daemon-lab.ts';
import { ExtraDaemon } from './extra-daemon.ts';

const node = nodes[0].name;

describeLab('one writer on a node', () => {
  let lab: Lab;
  let daemons: ExtraDaemon[] = [];

  beforeAll(async () => {
    lab = await createLab({ name: labName('ho'), daemons: false });
    // Writes the configuration, and leaves rules behind.
    await lab.startDaemon(node);
    await lab.stopDaemon(node);
  });
  afterAll(async () => {
    await lab.close();
  });
  afterEach(async () => {
    for (const daemon of daemons) await daemon.end('SIGKILL');
    daemons = [];
  });

  let started = 0;
  async function start(): Promise<ExtraDaemon> {
    started += 1;
    const daemon = await ExtraDaemon.start(lab, { node, name: `d${started}` });
    daemons.push(daemon);
    return daemon;
  }

  /** One that has the lock and is ready. */
  async function startReady(): Promise<ExtraDaemon> {
    const daemon = await start();
    await daemon.writes();
    await eventually(() => ready());
    return daemon;
  }

  async function ready(): Promise<void> {
    await lab.exec(node, ['curl', '-sf', `http://127.0.0.1:${healthzPort}/readyz`]);
  }

  test('the second takes over; the first stands by, takes over when the second ends, and both end cleanly', async () => {
    const first = await startReady();
    const handles = await handlesOf(lab, node);
    const second = await startReady();
    expect(first.isWriting).toBe(false);
    expect(await first.isAlive()).toBe(true);
    expect(await handlesOf(lab, node)).toBe(handles);
    expect(await second.end('SIGTERM')).toBe('exited with status 0');
    await first.writes();
    await eventually(() => ready());
    expect(await handlesOf(lab, node)).toBe(handles);
    expect(await first.end('SIGTERM')).toBe('exited with status 0');
  });
});
