/** Many pods at once and one after the other. Long forms: CNI_ROUNDS=10, CNI_CYCLES=5000. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { nodeProgram } from '../../src/lab/install.ts';
import { type Answer, CniNode, DUAL, linkIn } from './cni-node.ts';

const ROUNDS = Number(process.env.CNI_ROUNDS ?? 3);
const CYCLES = Number(process.env.CNI_CYCLES ?? 200);
const MANY = 100;
const AT_ONCE = 10;
const MINUTE = 60_000;

describe('a node whose runtime is busy', () => {
  let node: CniNode;
  let pods: string[];

  beforeAll(async () => {
    node = await CniNode.start('load', DUAL);
    pods = await Promise.all(Array.from({ length: MANY }, (_, index) => node.pod(`n${index}`)));
  });
  afterEach(async () => {
    expect(await node.residue()).toEqual([]);
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
  });

  const ipsOf = ({ result }: Answer) => (result.ips ?? []).map(({ address }) => address);
  const each = <T>(some: readonly string[], work: (pod: string, id: string) => Promise<T>) =>
    Promise.all(some.map((pod, index) => work(pod, `n${index}`)));
  const addAll = (some: readonly string[]) => each(some, (pod, id) => node.add(pod, { id }));
  const delAll = (some: readonly string[]) => each(some, (pod, id) => node.del(pod, { id }));

  test('A16, N01: 60 at once on a fresh node: one bridge with one MAC, which stays after they are gone', async () => {
    const some = pods.slice(0, 60);
    const added = await addAll(some);
    expect(new Set(added.flatMap(ipsOf)).size).toBe(2 * some.length);
    const macs = new Set(added.map(({ result }) => result.interfaces?.[0]?.mac));
    expect((await delAll(some)).filter(({ status }) => status !== 0)).toEqual([]);
    const [bridge] = JSON.parse((await node.exec(['ip', '-j', 'link', 'show', 'cni0'])).stdout) as {
      address: string;
    }[];
    expect([...macs]).toEqual([bridge!.address]);
  });

  test(
    `N02, N05: ${MANY} at once, ${ROUNDS} rounds, while the runtime checks, asks and collects all the time`,
    async () => {
      const kept = await node.pod('kept');
      const { result: prevResult } = await node.add(kept, { id: 'kept' });
      const valid = ['kept', ...pods.map((_, index) => `n${index}`)].map(containerID => ({
        containerID,
        ifname: 'eth0',
      }));
      const asked: Answer[] = [];
      let isOver = false;
      const asking = (async () => {
        while (!isOver) {
          const check = await node.call({ verb: 'CHECK', pod: kept, id: 'kept', config: { prevResult } });
          const collect = await node.call({ verb: 'GC', config: { 'cni.dev/valid-attachments': valid } });
          asked.push(check, collect, await node.call({ verb: 'STATUS' }));
        }
      })();
      for (let round = 0; round < ROUNDS; round += 1) {
        const added = await addAll(pods);
        expect(new Set(added.flatMap(ipsOf)).size).toBe(2 * MANY);
        expect((await node.leases()).filter(({ state }) => state === 'ready')).toHaveLength(2 * (MANY + 1));
        expect((await delAll(pods)).filter(({ status }) => status !== 0)).toEqual([]);
      }
      isOver = true;
      await asking;
      expect(asked.length).toBeGreaterThan(ROUNDS);
      expect(asked.filter(({ status }) => status !== 0).map(({ stdout }) => stdout)).toEqual([]);
      await node.del(kept, { id: 'kept' });
    },
    5 * MINUTE,
  );

  test('G07: what is added while a GC runs lives on', async () => {
    const [old, young] = [pods.slice(10, 60), pods.slice(0, 5)];
    const count = async () => (await node.leases()).filter(({ state }) => state === 'ready').length;
    await each(old, (pod, id) => node.add(pod, { id: `old-${id}` }));
    const collecting = node.call({ verb: 'GC', config: { 'cni.dev/valid-attachments': [] } });
    await expect.poll(count, { interval: 1 }).toBeLessThan(2 * old.length); // it has begun
    const added = await addAll(young);
    expect((await collecting).status).toBe(0);
    expect(await count()).toBe(2 * young.length);
    for (const [index, { result: prevResult }] of added.entries()) {
      const check = { verb: 'CHECK', pod: young[index]!, id: `n${index}`, config: { prevResult } };
      expect(await node.call(check)).toMatchObject({ status: 0, stdout: '' });
    }
    await delAll(young);
  });

  test(
    `N06: ${CYCLES} pods one after the other leave the agent as it was`,
    async () => {
      const cycle = async () => {
        const some = pods.slice(0, AT_ONCE);
        expect((await addAll(some)).filter(({ status }) => status !== 0)).toEqual([]);
        expect((await delAll(some)).filter(({ status }) => status !== 0)).toEqual([]);
      };
      for (let done = 0; done < CYCLES / 4; done += AT_ONCE) await cycle();
      const before = await size();
      for (let done = 0; done < CYCLES; done += AT_ONCE) await cycle();
      // Links go on going for a moment, each with a socket.
      await expect
        .poll(async () => (await size()).descriptors, { timeout: 30_000 })
        .toBeLessThanOrEqual(before.descriptors);
      const after = await size();
      expect(after.rules).toBe(before.rules);
      expect(after.stateBytes).toBeLessThan(8_000_000);
      expect(after.residentKB).toBeLessThan(before.residentKB * 1.25 + 16_000);
    },
    10 * MINUTE,
  );

  async function size() {
    const pid = node.agentPid;
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const { stdout } = await node.exec(['nft', 'list', 'ruleset']);
    const files = await readdir(join(node.directory, 'state'));
    const sizes = await Promise.all(files.map(async name => (await stat(join(node.directory, 'state', name))).size));
    return {
      descriptors: (await readdir(`/proc/${pid}/fd`)).length,
      residentKB: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]),
      rules: stdout,
      stateBytes: sizes.reduce((sum, bytes) => sum + bytes, 0),
    };
  }

  test('D09: an ADD that fails, and its DEL, leave nothing', async () => {
    const range = (...some: readonly object[]) => ({ ipam: { type: 'kproxy-cni', ranges: [some] } });
    const subnet = '10.1.2.0/24';
    const failing: readonly (readonly [number, object, string?])[] = [
      ...[{ mtu: 70_000 }, { mac: 'zz' }, { hairpinMode: true, promiscMode: true }].map(each => [7, each] as const),
      ...[{ vlan: -1 }, { vlan: 4095 }, { vlanTrunk: [{ minID: 9, maxID: 3 }] }].map(each => [7, each] as const),
      ...['10.1.2.3/24', '10.1.2.0/31', '10.1.2.3/32', '10.1.2/24'].map(each => [7, range({ subnet: each })] as const),
      [7, range({ subnet, rangeStart: '10.1.2.9', rangeEnd: '10.1.2.3' })],
      [7, range({ subnet }, { subnet: '10.1.2.128/25' })],
      [7, { runtimeConfig: { portMappings: [{ hostPort: 70_000, containerPort: 80, protocol: 'tcp' }] } }],
      [7, { runtimeConfig: { bandwidth: { ingressRate: 1000, ingressBurst: -1 } } }],
      [8, {}, '/proc/self/ns/net'],
      [4, {}, '/run/netns/missing'],
      [4, {}, join(node.directory, 'state/cni.db')], // no namespace
      [101, { args: { cni: { ips: ['10.88.0.1'] } } }],
      [105, { bridge: 'lo' }],
    ];
    for (const [code, config, pod = pods[0]!] of failing) {
      const about = JSON.stringify([config, pod]);
      expect([(await node.add(pod, { id: 'd09', config })).code, about]).toEqual([code, about]);
      expect([about, await node.residue()]).toEqual([about, []]);
      expect(await linkIn(node, node.nameOf(pods[0]!), 'eth0')).toBeUndefined();
      expect([about, await node.del(pod, { id: 'd09', config })]).toMatchObject([about, { status: 0, stdout: '' }]);
    }
  });

  const MBIT = { down: 10, up: 5 };
  const INGRESS = { ingressRate: MBIT.down * 1e6, ingressBurst: 800_000 };
  const EGRESS = { egressRate: MBIT.up * 1e6, egressBurst: 400_000 };
  const limited = async (bandwidth: object) => {
    const config = { runtimeConfig: { bandwidth } };
    expect((await node.add(pods[0]!, { id: 'n0', config })).status).toBe(0);
  };
  /** Links of the node by which what pods send is limited. */
  const shapers = async () => JSON.parse((await node.exec(['ip', '-j', 'link', 'show', 'type', 'ifb'])).stdout);

  test(
    'C01: limits of both directions at once hold within a tenth over 10 s, and go with a DEL',
    async () => {
      await limited({ ...INGRESS, ...EGRESS });
      expect(await shapers()).toHaveLength(1);
      // Never more; less only while programs of a busy machine don't get their turn to send.
      const best = { down: 0, up: 0 };
      for (let tries = 0; tries < 3 && Math.min(best.down, best.up) < 0.9; tries += 1) {
        const measured = await rates(10_000);
        for (const way of ['down', 'up'] as const) {
          expect(measured[way] / MBIT[way]).toBeLessThan(1.1);
          best[way] = Math.max(best[way], measured[way] / MBIT[way]);
        }
      }
      expect(Math.min(best.down, best.up)).toBeGreaterThan(0.9);
      await node.del(pods[0]!, { id: 'n0' });
      expect(await shapers()).toEqual([]);
    },
    MINUTE,
  );

  test.each([
    ['of what comes in', INGRESS, { down: true, up: false }],
    ['of what goes out', EGRESS, { down: false, up: true }],
    ['of zero', { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 }, { down: false, up: false }],
  ] as const)('C01: a limit %s alone limits nothing else', async (_, bandwidth, isLimited) => {
    await limited(bandwidth);
    for (const way of ['down', 'up'] as const) {
      // One after the other: acknowledgements would wait behind what the other limit lets queue.
      const { [way]: rate } = await rates(1000, [way]);
      if (isLimited[way]) expect(rate, way).toBeLessThan(MBIT[way] * 2);
      else expect(rate, way).toBeGreaterThan(MBIT[way] * 4);
    }
    expect(await shapers()).toHaveLength(isLimited.up ? 1 : 0);
    await node.del(pods[0]!, { id: 'n0' });
    expect(await shapers()).toEqual([]);
  });

  /** Mbit/s that arrive in the pod (`down`) and at its node (`up`) when who shall sends all it can; the first second, in which bursts are spent, doesn't count. */
  async function rates(
    ms: number,
    ways: readonly ('down' | 'up')[] = ['down', 'up'],
  ): Promise<{ readonly down: number; readonly up: number }> {
    const talk = `
      const talk = (socket, sends, done) => {
        let got = 0;
        socket.on('data', chunk => { got += chunk.length; });
        socket.on('error', () => undefined);
        const fill = () => { while (socket.write(Buffer.alloc(16384))); };
        if (sends) socket.on('drain', fill);
        if (sends) fill();
        setTimeout(() => {
          const [from, at] = [got, performance.now()];
          setTimeout(() => done((got - from) * 8 / (performance.now() - at) / 1000), ${ms});
        }, 1000);
      };
      const tell = rate => { console.log(rate); setTimeout(() => process.exit(), 1000); };`;
    const server = `require('node:net').createServer(socket => talk(socket, ${ways.includes('down')}, tell)).listen(7000, '10.88.0.1', () => console.log('ready'));`;
    const client = `const socket = require('node:net').connect(7000, '10.88.0.1', () => talk(socket, ${ways.includes('up')}, tell));`;
    const start = (netns: string, code: string) =>
      spawn('ip', ['netns', 'exec', netns, nodeProgram, '-e', `${talk}\n${code}`], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
    const above = start(node.netns, server);
    expect(String((await once(above.stdout, 'data'))[0]).trim()).toBe('ready');
    const below = start(node.nameOf(pods[0]!), client);
    const told = [above, below].map(async child => Number(String((await once(child.stdout, 'data'))[0])));
    const ended = [above, below].map(child => once(child, 'close'));
    const [up, down] = await Promise.all(told);
    await Promise.all(ended);
    return { down: down!, up: up! };
  }
});
