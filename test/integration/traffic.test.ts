import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, podPort, web } from '../../src/lab/layout.ts';
import { signalProcess } from '../../src/lab/process.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  labName,
  setEndpoints,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA] = nodes;

describeLab('traffic in a lab', () => {
  let lab: Lab;
  let first: PodState;
  let second: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('tf'), mode: '', pods: 2 });
    [first, second] = lab.pods as [PodState, PodState];
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
  });
  afterAll(async () => {
    await lab.close();
  });

  test('1000 connections a second, over TCP and UDP, have no failure when nothing happens', async () => {
    await using running = await lab.traffic('client', {
      targets: [
        { address: web.clusterIP, port: web.port },
        { address: web.clusterIP, port: web.port, protocol: 'udp' },
        { address: nodeA.address, port: web.nodePort },
      ],
      connectionsPerSecond: 1000,
      held: 10,
    });
    await delay(4000);
    const report = await running.stop();
    expect(report.failures).toEqual([]);
    expect(report.answered).toBe(report.opened);
    expect(report.held).toMatchObject({ opened: 10, failed: 0 });
    expect(report.held.answers).toBeGreaterThan(10);
    // Less only when the machine didn't let the generator run for more than a second.
    expect(report.opened + Math.max(0, report.worstLagMs - 1000)).toBeGreaterThanOrEqual(3999);
    expect(Object.keys(report.pods).toSorted()).toEqual([first.name, second.name]);
    const targets = Object.values(report.targets).map(({ opened }) => opened);
    expect(Math.max(...targets) - Math.min(...targets)).toBeLessThanOrEqual(1);
  });

  test('a Service without endpoints refuses, and the failures say until when', async () => {
    const service = { name: 'empty', clusterIP: '10.96.9.1', ports: withNodePort(30901) };
    await createService(lab, service, []);
    await awaitUsed(lab, { service: 'default/empty', pods: [] });
    await using running = await lab.traffic(first.name, {
      targets: [
        { address: '10.96.9.1', port: 80 },
        { address: '10.96.9.1', port: 80, protocol: 'udp' },
      ],
      connectionsPerSecond: 100,
      held: 0,
    });
    await delay(500);
    await setEndpoints(lab, 'empty', [endpoint(second)]);
    await awaitUsed(lab, { service: 'default/empty', pods: [second] });
    const readyAt = Date.now();
    await delay(500);
    const report = await running.stop();
    expect(report.refused).toBeGreaterThan(20);
    expect(report.refused + report.answered).toBe(report.opened);
    expect(report.failures.filter(({ at }) => at > readyAt + 100)).toEqual([]);
    expect(report.failures).toHaveLength(report.refused);
    expect(report.pods[second.name]?.answers).toBe(report.answered);
    expect(Object.values(report.targets).map(({ failed }) => failed > 0)).toEqual([true, true]);
  });

  test('a pod that is frozen: lines that are late count as failures, and none is lost when it goes on', async () => {
    const { process: frozen } = second;
    await using running = await lab.traffic(first.name, {
      targets: [{ address: second.ip, port: podPort }],
      connectionsPerSecond: 20,
      held: 3,
      timeoutMs: 5000,
      stallMs: 300,
    });
    await signalProcess(frozen!, 'SIGSTOP');
    await delay(1000);
    await signalProcess(frozen!, 'SIGCONT');
    await delay(500);
    const report = await running.stop();
    expect(report.held).toMatchObject({ opened: 3, failed: 3 });
    expect(report.failures.map(({ kind, isHeld }) => [kind, isHeld])).toEqual(
      report.failures.map(() => ['timedOut', true]),
    );
    expect(report.held.longestWaitMs).toBeGreaterThan(900);
    expect(report.answered).toBe(report.opened);
    expect(report.latencyMs.max).toBeGreaterThan(900);
  });

  test('an address that drops everything times out, a pod that dies resets what is held', async () => {
    const { pod } = await lab.addPod(nodeA.name);
    await createService(lab, { name: 'dying', clusterIP: '10.96.9.2', ports: bothProtocols }, [endpoint(pod)]);
    await awaitUsed(lab, { service: 'default/dying', pods: [pod] });
    await using running = await lab.traffic(first.name, {
      targets: [{ address: '10.96.9.2', port: 80 }],
      connectionsPerSecond: 20,
      held: 3,
      timeoutMs: 400,
    });
    await using silent = await lab.traffic(first.name, {
      targets: [{ address: '192.0.2.1', port: podPort }],
      connectionsPerSecond: 20,
      timeoutMs: 400,
    });
    await delay(200);
    await signalProcess(lab.pods.find(({ name }) => name === pod.name)!.process!, 'SIGKILL');
    await delay(200);
    const report = await running.stop();
    expect(report.held).toMatchObject({ opened: 3, failed: 3 });
    const held = report.failures.filter(({ isHeld }) => isHeld);
    expect(held.map(({ kind, target }) => [kind, target])).toEqual(held.map(() => ['reset', '10.96.9.2:80/tcp']));
    expect(report.answered).toBeGreaterThan(0);
    expect(report.refused).toBeGreaterThan(0);
    const nowhere = await silent.stop();
    expect(nowhere.opened).toBeGreaterThan(0);
    expect(nowhere.timedOut).toBe(nowhere.opened);
  });
});
