import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { Fault } from '../../src/lab/fault.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { apiAddress, apiPort, healthzPort, nodes } from '../../src/lab/layout.ts';
import {
  awaitGone,
  awaitUsed,
  describeLab,
  eventually,
  handlesOf,
  labName,
  logLines,
  rulesOf,
  serviceObject,
  servicesPath,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';
import { awaitDual, createDual, Stage, type StageTraffic } from './fault-lab.ts';

const [nodeA, nodeB] = nodes;
/** Spares those who look after the cluster meanwhile. */
const daemons = { userAgent: 'kproxy-ts' };

describeLab('while the API server fails, under traffic', () => {
  let lab: Lab;
  let stage: Stage;

  /** The other node hears nothing of the API server, from the first test to the last; its connections look open for ever. */
  let silence: Fault;
  let throughSilence: StageTraffic;
  let noticedAfterMs: Promise<number>;

  beforeAll(async () => {
    // Objects of 1.5 MB: more than the annotations that a real server takes, as large as etcd's largest value.
    lab = await createLab({ name: labName('fa'), validate: false });
    stage = await Stage.build(lab);
    throughSilence = await stage.startTraffic(nodeB);
    silence = await lab.fault('partition', { node: nodeB.name });
    noticedAfterMs = awaitNoticed();
    noticedAfterMs.catch(() => undefined); // the last test hears of it
  });
  afterAll(async () => {
    await lab.close();
  });

  /** Connections of the daemon to the API server that it thinks are open, by their ports. */
  async function openConnections(node: string): Promise<string> {
    const filter = ['state', 'established', 'dst', apiAddress, 'dport', '=', `:${apiPort}`];
    const { stdout } = await lab.exec(node, ['ss', '-Htn', ...filter]);
    return stdout.trim();
  }

  async function awaitNoticed(): Promise<number> {
    const since = performance.now();
    expect(await openConnections(nodeB.name)).not.toBe('');
    await vi.waitFor(async () => expect(await openConnections(nodeB.name)).toBe(''), {
      timeout: 70_000,
      interval: 500,
    });
    return performance.now() - since;
  }

  // Each fault meets a daemon that has had no trouble for long: the waits between its attempts begin small.
  beforeEach(async () => {
    await lab.restartDaemon(nodeA.name);
    await stage.awaitMoved();
  });

  /** The endpoint moves; the rules follow in time, and connections old and new live through it. */
  function moveThrough(fault: () => Promise<void>, withinMs?: number): Promise<void> {
    return stage.withoutLoss(async () => {
      await fault();
      await stage.awaitMoved(withinMs);
      await stage.expectMoved();
    });
  }

  function messages(node: string, since = 0): string[] {
    return logLines(lab, node)
      .slice(since)
      .map(({ msg }) => msg);
  }

  async function healthOf(route: string): Promise<number> {
    const url = `http://127.0.0.1:${healthzPort}${route}`;
    const { stdout } = await lab.exec(nodeA.name, ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', url]);
    return Number(stdout);
  }

  test('connections that break', () =>
    moveThrough(async () => {
      await lab.fault('dropConnections', daemons);
      await stage.move();
    }));

  test('a watch that breaks in the middle of a line', () =>
    moveThrough(async () => {
      await lab.fault('cutWatches', daemons);
      await stage.move();
    }));

  test('a watch that ends in the middle of a line, as if in order', () =>
    moveThrough(async () => {
      await lab.fault('cutWatches', { ...daemons, ending: 'end' });
      await stage.move();
    }));

  test('410 as an ERROR event', () =>
    moveThrough(async () => {
      await lab.fault('expireWatches', daemons);
      await stage.move();
    }));

  test('410 as a status', () =>
    moveThrough(async () => {
      await lab.fault('refuse', { ...daemons, status: 410, forMs: 1500 });
      await lab.fault('dropConnections', daemons);
      await stage.move();
    }));

  test('a compaction while the watches are broken: a delete that was missed surfaces', async () => {
    await lab.api.create(
      servicesPath(),
      serviceObject({ name: 'gone', clusterIP: '10.96.7.9', ports: withNodePort(30709) }),
    );
    await awaitUsed(lab, { service: 'default/gone', pods: [], on: [nodeA.name] });
    await moveThrough(async () => {
      const refusing = await lab.fault('refuse', { ...daemons, status: 503 });
      await lab.fault('dropConnections', daemons);
      await lab.api.delete(`${servicesPath()}/gone`);
      await stage.move();
      await lab.fault('compact', {});
      await refusing.end();
    });
    await awaitGone(lab, 'default/gone', [nodeA.name]);
    expect(await rulesOf(lab, nodeA.name)).not.toContain('default/gone');
  });

  test('a server that answers late', () =>
    moveThrough(async () => {
      await lab.fault('slow', { ...daemons, delayMs: 2000, forMs: 8000 });
      await lab.fault('dropConnections', daemons);
      await stage.move();
    }, 15_000));

  test('a server that says nothing for a while, on watches that stay open', () =>
    moveThrough(async () => {
      const stall = await lab.fault('stall', daemons);
      await stage.move();
      await delay(3000);
      await expect(stage.awaitMoved(0)).rejects.toThrow();
      await stall.end();
    }));

  test.for([{ status: 429, retryAfterSeconds: 1 }, { status: 500 }, { status: 503 }])(
    'a server that answers $status',
    refusal =>
      moveThrough(async () => {
        const refusing = await lab.fault('refuse', { ...daemons, ...refusal });
        await lab.fault('dropConnections', daemons);
        await stage.move();
        await delay(2500);
        await expect(stage.awaitMoved(0)).rejects.toThrow();
        await refusing.end();
      }),
  );

  test('objects of 1.5 MB, and a slice of 1000 endpoints', async () => {
    const annotations = Object.fromEntries(Array.from({ length: 15 }, (_, n) => [`note-${n}`, 'x'.repeat(100_000)]));
    const huge = serviceObject({ name: 'huge', clusterIP: '10.96.7.8', ports: withNodePort(30708) });
    const addresses = Array.from({ length: 1000 }, (_, n) => `10.245.${n >> 8}.${n & 255}`);
    const endpoints = addresses.map(address => ({ addresses: [address], conditions: { ready: true } }));
    await moveThrough(async () => {
      const { metadata, ...rest } = huge as { metadata: object };
      await lab.api.create(servicesPath(), { ...rest, metadata: { ...metadata, annotations } });
      await lab.api.create(slicesPath(), sliceObject({ name: 'huge', ports: withNodePort(30708), endpoints }));
      await stage.move();
    });
    await eventually(async () => expect(await rulesOf(lab, nodeA.name)).toContain('--to-destination 10.245.3.231:'));
    await lab.api.delete(`${slicesPath()}/huge`);
    await lab.api.delete(`${servicesPath()}/huge`);
    await awaitGone(lab, 'default/huge', [nodeA.name]);
  });

  test('a restart of the server', () =>
    moveThrough(async () => {
      await lab.restartApiServer();
      await stage.move();
    }));

  test('a server that comes back with an older state: what came later goes, and the log says so', async () => {
    const snapshot = await lab.takeSnapshot();
    const logged = logLines(lab, nodeA.name).length;
    const late = { name: 'late', clusterIP: '10.96.7.7', clusterIP6: 'fd00:10:96::707', nodePort: 30707 };
    await createDual(lab, { ...late, ports: withNodePort(late.nodePort) }, [lab.pods[1]!]);
    await awaitDual(lab, { service: 'late', pods: [lab.pods[1]!], on: [nodeA.name] });
    await stage.move();
    await stage.awaitMoved();
    await moveThrough(async () => {
      await lab.restartApiServer({ snapshot });
      stage.noteMovedBack();
    });
    await awaitGone(lab, 'default/late', [nodeA.name]);
    expect(await rulesOf(lab, nodeA.name)).not.toContain('default/late');
    expect(messages(nodeA.name, logged).join('\n')).toMatch(/the server is older than what we know/);
    // The numbers of versions are used once more: what comes next is noticed all the same.
    await moveThrough(() => stage.move());
  });

  test('new connections are refused only while no endpoint is ready; open ones live on even then', async () => {
    await using traffic = await stage.startTraffic();
    const refusing = await lab.fault('refuse', { ...daemons, status: 503 });
    await lab.fault('dropConnections', daemons);
    const goneAt = Date.now();
    await stage.empty(async () => {
      await delay(1000);
      await refusing.end();
    });
    await delay(500);
    await stage.move();
    await stage.awaitMoved();
    const readyAt = Date.now();
    await delay(300);
    for (const { failures, targets, held, ...counts } of await traffic.stop()) {
      expect(counts.refused + counts.answered).toBe(counts.opened);
      expect(held.failed).toBe(0);
      expect(failures.filter(({ at }) => at < goneAt || at > readyAt + 200)).toEqual([]);
      const failed = Object.entries(targets).filter(([, { failed }]) => failed > 0);
      const ofMoving = Object.keys(targets).filter(target => stage.isMoving(target));
      expect(failed.map(([target]) => target).toSorted()).toEqual(ofMoving.toSorted());
    }
  });

  test('a server that is down when the daemon starts: the rules stay, and readiness waits for it', () =>
    stage.withoutLoss(async () => {
      await lab.stopDaemon(nodeA.name);
      const down = await lab.fault('down', {});
      const before = await handlesOf(lab, nodeA.name);
      await lab.startDaemon(nodeA.name, { awaitReady: false });
      await eventually(async () => expect(await healthOf('/livez')).toBe(200));
      expect(await healthOf('/readyz')).toBe(503);
      await delay(1500);
      expect(await handlesOf(lab, nodeA.name)).toBe(before);
      await down.end();
      await stage.move();
      await stage.awaitMoved(40_000); // as below
      await stage.expectMoved();
      expect(await healthOf('/readyz')).toBe(200);
    }));

  test('connections that are open only on our side are noticed within 60 s; what was missed is made up for', async () => {
    expect(await noticedAfterMs).toBeLessThan(60_000);
    await silence.end();
    await stage.move();
    await stage.awaitMoved(40_000, [nodeB.name]); // the wait between two attempts has grown to 30 s, more or less
    await throughSilence.expectNoLoss();
  }, 120_000);
});
