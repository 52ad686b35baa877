/** The daemon of a node is replaced by a hand-over while its container runtime starts and stops pods. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Lease } from '../../src/cni/ipam/lease.ts';
import type { CniResult } from '../../src/cni/types.ts';
import { projectDir } from '../../src/lab/install.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { createNamespaces, deleteNamespaces } from '../../src/lab/netns.ts';
import { ExecError, run } from '../../src/linux/exec.ts';
import { labName } from './daemon-lab.ts';

const PODS = 200;
/** Pods that the runtime works on at once. */
const AT_ONCE = 20;
/** How often an ADD is tried that should be tried again. */
const TRIES = 100;
const NODE = 'node-a';

describe('an upgrade of the daemon while pods start and stop', () => {
  let lab: Lab;
  const names = Array.from({ length: PODS }, (_, index) => `kpx-upgrade-${process.pid}-${index}`);
  /** How often each code was answered. */
  const codes = new Map<number, number>();
  const addresses = new Map<string, readonly string[]>();

  beforeAll(async () => {
    lab = await createLab({ name: labName('upgrade'), cni: true, mode: 'nftables', pods: 2 });
    await createNamespaces(names);
  });
  afterAll(async () => {
    await deleteNamespaces(names);
    await lab?.close();
  });

  async function call(verb: 'ADD' | 'DEL', name: string): Promise<CniResult | undefined> {
    const config = {
      cniVersion: '1.1.0',
      name: 'lab',
      type: 'kproxy-cni',
      isDefaultGateway: true,
      ipMasq: true,
      ipam: { type: 'kproxy-cni' },
      kproxyRuntimeDir: join(lab.directory, `${NODE}.run`),
    };
    const env = {
      CNI_COMMAND: verb,
      CNI_CONTAINERID: name,
      CNI_NETNS: `/run/netns/${name}`,
      CNI_IFNAME: 'eth0',
      CNI_PATH: join(projectDir, 'dist'),
    };
    const program = join(projectDir, 'dist/kproxy-cni');
    try {
      const { stdout } = await run(program, [], { netns: lab.netns(NODE), env, input: JSON.stringify(config) });
      count(0);
      if (verb === 'DEL') expect(stdout).toBe('');
      return verb === 'ADD' ? (JSON.parse(stdout) as CniResult) : undefined;
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
      const { code } = JSON.parse(error.stdout) as { code: number };
      count(code);
      return undefined;
    }
  }
  const count = (code: number) => codes.set(code, (codes.get(code) ?? 0) + 1);

  /** As a runtime does: what failed is removed, and tried again. */
  async function start(name: string): Promise<void> {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const result = await call('ADD', name);
      if (result !== undefined) {
        addresses.set(
          name,
          (result.ips ?? []).map(({ address }) => address.replace(/\/.*/, '')),
        );
        return;
      }
      await call('DEL', name);
    }
    throw new Error(`${name} never gets its network: ${JSON.stringify([...codes])}`);
  }

  /** Resolves when all are done; `half` when half of them are. */
  function everyPod(work: (name: string) => Promise<unknown>): { all: Promise<unknown>; half: Promise<void> } {
    const half = Promise.withResolvers<void>();
    const left = [...names];
    const worker = async () => {
      for (let name = left.shift(); name !== undefined; name = left.shift()) {
        await work(name);
        if (left.length <= PODS / 2) half.resolve();
      }
    };
    return { all: Promise.all(Array.from({ length: AT_ONCE }, worker)), half: half.promise };
  }

  async function handOver(from: string, to: string): Promise<void> {
    const before = await served(to);
    await lab.startDaemon(NODE, { as: to, awaitReady: false });
    await expect.poll(() => served(to), { timeout: 30_000 }).toBe(before + 1);
    await lab.stopDaemon(from);
  }
  const served = async (name: string) => {
    const log = await readFile(join(lab.directory, `${name}.log`), 'utf8').catch(() => '');
    return log.split('pods get their network here').length - 1;
  };

  const leases = async () => {
    const { stdout } = await lab.exec(NODE, ['kproxy-ts', 'ipam', 'list', '-o', 'json']);
    return (JSON.parse(stdout) as Lease[]).filter(({ state }) => state !== 'resting').map(({ address }) => address);
  };
  const links = async () => {
    const { stdout } = await lab.exec(NODE, ['ip', '-j', 'link']);
    return (JSON.parse(stdout) as { ifalias?: string }[]).filter(({ ifalias }) => ifalias !== undefined).length;
  };
  const masqueraded = async (family: 'ip' | 'ip6') => {
    const { stdout } = await lab.exec(NODE, ['nft', '-j', 'list', 'set', family, 'kproxy-ts-cni', 'masqueraded-pods']);
    const { nftables } = JSON.parse(stdout) as { nftables: { set?: { elem?: unknown[] } }[] };
    return nftables.flatMap(({ set }) => set?.elem ?? []).length;
  };
  /** Addresses, links, elements of both families. */
  const counted = async () => [
    (await leases()).length,
    await links(),
    await masqueraded('ip'),
    await masqueraded('ip6'),
  ];

  test(`${PODS} ADDs: every answer conforms, every pod has its network, nothing is there twice or left`, async () => {
    expect(await counted()).toEqual([2, 1, 1, 1]);
    const { all, half } = everyPod(start);
    await half;
    await handOver(NODE, 'next');
    await all;
    expect([...codes.keys()].filter(code => code !== 0 && code !== 11)).toEqual([]);
    const given = [...addresses.values()].flat();
    expect(new Set(given).size).toBe(2 * PODS);
    expect((await leases()).filter(address => given.includes(address)).length).toBe(2 * PODS);
    expect(await counted()).toEqual([2 + 2 * PODS, 1 + PODS, 1 + PODS, 1 + PODS]);
    const [first, last] = [names[0]!, names[PODS - 1]!];
    for (const address of addresses.get(last)!) await run('ping', ['-c1', '-W2', address], { netns: first });
  }, 120_000);

  test(`${PODS} DELs: each succeeds, and nothing is left`, async () => {
    codes.clear();
    const { all, half } = everyPod(name => call('DEL', name));
    await half;
    await handOver('next', NODE);
    await all;
    expect([...codes]).toEqual([[0, PODS]]);
    // What found no daemon is done by the next one.
    await expect.poll(counted, { timeout: 30_000, interval: 500 }).toEqual([2, 1, 1, 1]);
  }, 120_000);
});
