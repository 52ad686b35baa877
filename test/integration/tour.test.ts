import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectDir } from '../../src/lab/install.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { runTour } from '../../src/lab/tour.ts';
import { describeUnless } from './requires.ts';

const isBuilt = existsSync(join(projectDir, 'dist/kproxy-ts.mjs'));
const why = isBuilt ? await obstacle() : "the daemons run from dist/: 'npm run build' first";
const name = `tour_${process.pid.toString(36)}`;
const service = { address: web.clusterIP, port: web.port };

describeUnless(why, 'a lab with its daemons', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name });
  });
  afterAll(async () => {
    await lab.close();
  });

  test('the tour sees no wrong answer', async () => {
    let text = '';
    const write = (more: string) => {
      text += more;
    };
    const { signal } = new AbortController();
    expect(await runTour({ lab, write, connections: 100, staysUp: false, signal })).toEqual([]);
    expect(text).toContain('Every answer was right.');
    expect(text.includes(`ClusterIP  [${web.clusterIP6}]:80`)).toBe(lab.hasIPv6);
    expect(text).toContain('node-a -- iptables-save -t nat ');
    expect(text).toMatch(/web-5 on node-b: ready for the API server, and \d+ ms later/);
  });

  test.for(['SIGTERM', 'SIGKILL'] as const)(
    'connections old and new work while a daemon is gone by %s',
    async signal => {
      await using talk = await lab.talk('node-a', service.address, service.port);
      await lab.stopDaemon('node-a', signal);
      expect(await talk.say('without a daemon')).toBe('without a daemon');
      expect((await lab.probe('node-a', { ...service, count: 20 })).failures).toEqual([]);
      await lab.startDaemon('node-a');
      expect(await talk.say('with the next')).toBe('with the next');
      expect((await lab.probe('node-a', { ...service, count: 20 })).failures).toEqual([]);
    },
  );

  test('no connection of many fails while a daemon restarts and the Service grows', async () => {
    const running = await lab.startProbe('client', {
      address: nodes[0].address,
      port: web.nodePort,
      count: 100_000,
      concurrency: 2,
      deadlineMs: 3000,
    });
    await lab.restartDaemon('node-a');
    await lab.addPod('node-a');
    const { replies, failures } = await running.report;
    expect(failures).toEqual([]);
    expect(replies.length).toBeGreaterThan(100);
  });

  test('a pod that goes gets no new connections once the daemons know', async () => {
    const [gone] = lab.pods;
    await lab.removePod(gone!.name, { keepRunning: true });
    await expect
      .poll(
        async () =>
          (await lab.probe('node-b', { ...service, count: 60 })).replies.some(({ pod }) => pod === gone!.name),
        {
          timeout: 5000,
        },
      )
      .toBe(false);
  });
});
