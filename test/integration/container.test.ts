import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import { keptCapabilities } from '../unit/deploy/manifest.ts';
import { Container } from './container.ts';
import {
  answers,
  ask,
  awaitUsed,
  describeLab,
  enoughFor,
  eventually,
  handlesOf,
  labName,
  masqueradedAt,
  rulesOf,
} from './daemon-lab.ts';
import { makeNodeFiles, startGate, writeToken } from './node-files.ts';

const [node] = nodes;

describeLab('the pod of the manifest, on a node', () => {
  let lab: Lab;
  let gate: Awaited<ReturnType<typeof startGate>>;
  let container: Container;

  beforeAll(async () => {
    lab = await createLab({ name: labName('pod'), pods: 2, daemons: false });
    gate = await startGate(lab, 'first-token');
    await makeNodeFiles(lab, node.name, { variant: 'nft', token: 'first-token' });
    container = await Container.start({ lab, node: node.name });
    await container.awaitReady();
  });
  afterAll(async () => {
    await lab.close();
  });

  async function expectService(): Promise<void> {
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods, on: [node.name] });
    const count = enoughFor(lab.pods.length);
    const inside = await ask(lab, node.name, { address: web.clusterIP, port: web.port, count });
    expect(inside).toEqual(answers(lab.pods, masqueradedAt(node)));
    const outside = await ask(lab, 'client', { address: node.address, port: web.nodePort, count });
    expect(outside).toEqual(answers(lab.pods, masqueradedAt(node)));
  }

  test('has the capabilities that the manifest adds and no way to more', async () => {
    const status = await container.status();
    const sets = [...status.matchAll(/^Cap(\w+):\t(\w+)$/gm)].map(([, name, bits]) => [name, BigInt(`0x${bits}`)]);
    const bits = { NET_ADMIN: 1n << 12n, NET_RAW: 1n << 13n }; // linux/capability.h
    const kept = Object.entries(bits).reduce(
      (all, [name, bit]) => (keptCapabilities().includes(name) ? all | bit : all),
      0n,
    );
    expect(Object.keys(bits)).toEqual(expect.arrayContaining([...keptCapabilities()]));
    expect(Object.fromEntries(sets)).toEqual({ Inh: 0n, Prm: kept, Eff: kept, Bnd: kept, Amb: 0n });
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
  });

  test('cannot write outside its volumes', async () => {
    for (const file of ['/file', '/tmp/file', '/run/file', '/etc/kproxy-ts/file', '/opt/kproxy-ts/dist/file']) {
      await expect(container.exec(['touch', file])).rejects.toThrow(/Read-only file system/);
    }
    await expect(container.exec(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward'])).rejects.toThrow(/Read-only/);
  });

  test('programs the node, which serves pods, itself and clients', async () => {
    await expectService();
  });

  test('stays within its role: the API server refuses nothing', async () => {
    expect(await readFile(gate.logFile, 'utf8')).toBe('');
  });

  test('follows the cluster with a rotated token, once the old one is refused', async () => {
    await writeToken(lab, node.name, 'second-token');
    await writeFile(gate.tokenFile, 'second-token');
    await lab.dropWatches();
    await lab.addPod(node.name);
    await expectService();
  });

  test('has started, says the startup probe', async () => {
    expect(await container.hasStarted()).toBe(true);
  });

  test('keeps the node while a new pod cannot work, and that one never counts as started', async () => {
    const env = { KUBERNETES_SERVICE_HOST: 'api-server.invalid' };
    const broken = await Container.start({ lab, node: node.name, env });
    await eventually(() => expect(broken.log).toMatch(/api-server\.invalid/));
    await broken.awaitReady(); // the port's answer, which is the old pod's: here for why the startup probe doesn't ask it
    expect(await broken.hasStarted()).toBe(false);
    expect(await container.hasStarted()).toBe(true);
    expect(await broken.stop()).toBe('exited with status 0');
    await expectService();
  });

  test('hands the node over to a new pod, and takes it back when that ends', async () => {
    const rules = await handlesOf(lab, node.name);
    const next = await Container.start({ lab, node: node.name });
    await eventually(async () => expect(await next.hasStarted()).toBe(true));
    await next.awaitReady();
    expect(await container.hasStarted()).toBe(false);
    expect(await handlesOf(lab, node.name)).toBe(rules);
    expect(await next.stop()).toBe('exited with status 0');
    await eventually(async () => expect(await container.hasStarted()).toBe(true));
    await container.awaitReady();
    expect(await handlesOf(lab, node.name)).toBe(rules);
    await lab.addPod(node.name);
    await expectService();
  });

  test('leaves the rules when it ends, and takes them up again', async () => {
    const before = await rulesOf(lab, node.name);
    expect(await container.stop()).toBe('exited with status 0');
    const still = await ask(lab, 'client', { address: node.address, port: web.nodePort });
    expect(still).toEqual([expect.stringMatching(/^web-\d saw /)]);
    expect(withoutCounters(await rulesOf(lab, node.name))).toBe(withoutCounters(before));
    container = await Container.start({ lab, node: node.name });
    await container.awaitReady();
    await expectService();
  });

  test('cleans up with the same capabilities', async () => {
    await container.stop();
    const cleanup = await Container.start({ lab, node: node.name, command: ['kproxy-ts', 'cleanup'] });
    expect(await cleanup.ended).toBe('exited with status 0');
    expect(cleanup.log).toMatch(/^[1-9]\d* chains and rules of kproxy-ts removed\n$/);
    expect(await rulesOf(lab, node.name)).not.toContain('KUBE-S');
  });
});

function withoutCounters(rules: string): string {
  return rules.replaceAll(/^#.*\n/gm, '').replaceAll(/\[\d+:\d+\]/g, '');
}
