import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { run } from '../../src/linux/exec.ts';
import { type Answer, CniNode, IPV4 } from './cni-node.ts';

const PODS = 6;
/** Of kills; the points are random. Long form: CNI_KILLS=1000. */
const ROUNDS = Number(process.env.CNI_KILLS ?? 50);
/** On a slow machine. */
const ROUND_MS = 3000;

describe('faults under the real executable', () => {
  let node: CniNode;
  let pods: string[];
  beforeEach(async () => {
    node = await CniNode.start('faults', IPV4);
    pods = await Promise.all(Array.from({ length: PODS }, (_, index) => node.pod(`f${index}`)));
  });
  afterEach(() => node[Symbol.asyncDispose]());

  const config = { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'udp' }] } };
  const clean = () => expect.poll(() => node.residue(), { timeout: 60_000, interval: 100 }).toEqual([]);

  /** A call that ends by SIGKILL within half as long again as it takes, or before. */
  async function killed(call: (signal: AbortSignal) => Promise<Answer>, took: number): Promise<Answer> {
    const kill = new AbortController();
    const calling = call(kill.signal);
    await delay((Math.random() * took * 3) / 2);
    kill.abort();
    return calling;
  }

  test(
    'F01, F02, F03: the plugin is killed at random moments, with a DEL or without',
    async () => {
      const took = (await node.add(pods[0]!, { config })).milliseconds;
      await node.del(pods[0]!);
      let answered = 0;
      for (let round = 0; round < ROUNDS; round += 1) {
        const pod = pods[round % PODS]!;
        const { status } = await killed(signal => node.add(pod, { config, signal }), took);
        if (status === 0) answered += 1;
        // What the runtime heard nothing of is undone by a DEL, or by what the runtime knows.
        const undoing = [
          () => node.del(pod),
          () => node.del(''),
          () => node.call({ verb: 'GC', config: { 'cni.dev/valid-attachments': [] } }),
        ];
        expect(await undoing[round % undoing.length]!()).toMatchObject({ status: 0, stdout: '' });
        await clean();
      }
      expect(answered).toBeLessThan(ROUNDS);
    },
    ROUNDS * ROUND_MS,
  );

  test(
    'F01, F02: the plugin is killed at random moments of a DEL; the next one finishes it',
    async () => {
      await node.add(pods[0]!, { config });
      const took = (await node.del(pods[0]!)).milliseconds;
      let answered = 0;
      for (let round = 0; round < ROUNDS; round += 1) {
        const pod = pods[round % PODS]!;
        expect((await node.add(pod, { config })).status).toBe(0);
        const netns = round % 2 === 0 ? pod : '';
        if ((await killed(signal => node.del(netns, { config, signal }), took)).status === 0) answered += 1;
        expect(await node.del(netns)).toMatchObject({ status: 0, stdout: '' });
      }
      expect(answered).toBeLessThan(ROUNDS);
      await clean();
    },
    ROUNDS * ROUND_MS,
  );

  test(
    'F04, F05: the agent is killed at random moments of ADDs and DELs; no address twice, nothing left',
    async () => {
      const held = new Map<string, string>();
      const codes = new Map<number, number>();
      for (let round = 0; round < ROUNDS; round += 1) {
        const work = pods.map(async (pod, index) => {
          const id = `c${index}`;
          if (held.has(pod)) {
            const { status } = await node.del(pod, { id });
            expect(status).toBe(0);
            held.delete(pod);
            return;
          }
          const answer = await node.add(pod, { id });
          codes.set(answer.code, (codes.get(answer.code) ?? 0) + 1);
          if (answer.status === 0) held.set(pod, answer.result.ips![0]!.address);
          else expect((await node.del(pod, { id })).status).toBe(0);
        });
        // Some rounds are left alone, so that there is something to remove in the next.
        if (round % 2 === 0) await Promise.all(work);
        await delay(Math.random() * 40);
        await node.stopAgent('SIGKILL');
        await Promise.all(work);
        expect(new Set(held.values()).size).toBe(held.size);
        await node.startAgent();
        const ready = (await node.leases()).filter(({ state }) => state === 'ready').map(({ address }) => address);
        expect(ready.sort()).toEqual([...held.values()].map(address => address.replace(/\/.*/, '')).sort());
      }
      expect([...codes.keys()].filter(code => code !== 0 && code !== 11)).toEqual([]);
      expect(codes.get(0)).toBeGreaterThan(0);
      for (const [index, pod] of pods.entries()) await node.del(pod, { id: `c${index}` });
      await clean();
    },
    ROUNDS * ROUND_MS,
  );

  test(
    'A13, D02, D04, F04: an ADD again, a DEL of another container and a namespace that goes, while the agent is killed',
    async () => {
      for (let round = 0; round < ROUNDS / 5; round += 1) {
        const gone = await node.pod(`gone${round}`);
        const added = await Promise.all(pods.map((pod, index) => node.add(pod, { id: `c${index}` })));
        expect((await node.add(gone, { id: 'gone' })).status).toBe(0);
        const asking = Promise.all([
          Promise.all(pods.map((pod, index) => node.add(pod, { id: `c${index}` }))),
          Promise.all(pods.map(pod => node.del(pod, { id: 'another' }))),
        ]);
        const going = node.removePod(gone);
        await delay(Math.random() * 40);
        await node.stopAgent('SIGKILL');
        const [again, others] = await asking;
        await going;
        await node.startAgent();
        expect(again.filter(({ code }) => code !== 106 && code !== 11)).toEqual([]);
        expect(others.filter(({ status, stdout }) => status !== 0 || stdout !== '')).toEqual([]);
        for (const [index, { result: prevResult }] of added.entries()) {
          const check = { verb: 'CHECK', pod: pods[index]!, id: `c${index}`, config: { prevResult } };
          expect(await node.call(check)).toMatchObject({ status: 0, stdout: '' });
        }
        expect((await node.del(gone, { id: 'gone' })).status).toBe(0);
        for (const [index, pod] of pods.entries()) expect((await node.del(pod, { id: `c${index}` })).status).toBe(0);
        await clean();
      }
    },
    ROUNDS * ROUND_MS,
  );

  test('F07, F08: a database that is missing is rebuilt from the kernel, loudly: living pods keep their links', async () => {
    const { result } = await node.add(pods[0]!, { id: 'kept', config });
    await node.stopAgent();
    await rename(join(node.directory, 'state'), join(node.directory, 'elsewhere'));
    await node.startAgent();
    const ready = (await node.leases()).filter(({ state }) => state === 'ready');
    expect(ready.map(({ containerID, address }) => `${containerID} ${address}/24`)).toEqual([
      `kept ${result.ips![0]!.address}`,
    ]);
    expect(node.log.join('\n')).toContain('there is no database of pods, though pods have links');
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pods[0]!));
    expect((await node.add(pods[1]!, { id: 'next', config })).code).toBe(102);
    await node.del(pods[0]!, { id: 'kept' });
    await clean();
  });

  test('F07, F08: a pod without a name in /run/netns is found by its processes', async () => {
    const process = spawn('unshare', ['-n', 'sh', '-c', 'echo there; exec sleep 600']);
    await once(process.stdout, 'data');
    const pod = `/proc/${process.pid}/ns/net`;
    const { result } = await node.add(pod, { id: 'unnamed' });
    await node.stopAgent();
    await rm(join(node.directory, 'state'), { recursive: true });
    await node.startAgent();
    const ready = (await node.leases()).filter(({ state }) => state === 'ready');
    expect(ready.map(({ address }) => `${address}/24`)).toEqual([result.ips![0]!.address]);
    await run('nsenter', [`--net=${pod}`, 'ping', '-c1', '-W1', '10.88.0.1']);
    expect((await node.del(pod, { id: 'unnamed' })).status).toBe(0);
    process.kill();
    await clean();
  });

  test('F07, F08: a damaged database is moved aside and rebuilt from the kernel, loudly', async () => {
    const { result } = await node.add(pods[0]!, { id: 'kept' });
    await node.stopAgent();
    await writeFile(join(node.directory, 'state/cni.db'), 'this is no database');
    await node.startAgent();
    const [lease] = (await node.leases()).filter(({ state }) => state === 'ready');
    expect(lease).toMatchObject({ containerID: 'kept', address: result.ips![0]!.address.replace(/\/.*/, '') });
    expect(node.log.join('\n')).toContain('moved aside');
    const other = await node.add(pods[1]!, { id: 'next' });
    expect(other.result.ips![0]!.address).not.toBe(result.ips![0]!.address);
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pods[0]!));
    await node.del(pods[0]!, { id: 'kept' });
    await node.del(pods[1]!, { id: 'next' });
    await clean();
  });

  test('a pod whose namespace went without a DEL is noticed, and its address given back', async () => {
    await node.add(pods[0]!, { id: 'vanished', config });
    await node.removePod(pods[0]!);
    await clean();
  }, 70_000);

  test('the agent is replaced during many ADDs: every answer conforms, nothing is left', async () => {
    const many = await Promise.all(Array.from({ length: 40 }, (_, index) => node.pod(`m${index}`)));
    const adding = Promise.all(many.map((pod, index) => node.add(pod, { id: `m${index}` })));
    await delay(60);
    await node.stopAgent();
    await node.startAgent();
    const answers = await adding;
    expect(answers.filter(({ code }) => code !== 0 && code !== 11)).toEqual([]);
    const addresses = answers.filter(({ status }) => status === 0).map(({ result }) => result.ips![0]!.address);
    expect(new Set(addresses).size).toBe(addresses.length);
    const removed = await Promise.all(many.map((pod, index) => node.del(pod, { id: `m${index}` })));
    expect(removed.filter(({ status }) => status !== 0)).toEqual([]);
    await clean();
    await Promise.all(many.map(pod => node.removePod(pod)));
  }, 90_000);
});
