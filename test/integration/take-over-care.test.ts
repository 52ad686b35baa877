import { type ChildProcess, spawn } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import { markedEnv } from '../../src/lab/process.ts';
import { ExecError } from '../../src/linux/exec.ts';
import { awaitUsed, describeLab, enoughFor, eventually, labName } from './daemon-lab.ts';
import { FAMILIES, KubeProxysNode } from './kube-proxy-node.ts';

const [node] = nodes;

describeLab('a node that kube-proxy programmed', () => {
  let lab: Lab;
  let theirs: KubeProxysNode;

  beforeAll(async () => {
    lab = await createLab({ name: labName('care') });
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
    await lab.stopDaemon(node.name);
    theirs = new KubeProxysNode(lab, node);
  });
  afterAll(async () => {
    await lab.close();
  });
  afterEach(({ task }) => {
    if (task.result?.state === 'fail') console.error(theirs.told.join('\n'));
  });

  /** What `run --take-over` says when it refuses; its log when it doesn't. */
  async function refusal(): Promise<string> {
    const config = lab.configurationFile(nodes[1].name);
    const command = ['kproxy-ts', 'run', '--take-over', '--config', config] as const;
    const ended = await lab.exec(node.name, command, { timeoutMs: 10_000 }).catch((error: unknown) => error);
    if (!(ended instanceof ExecError)) throw new Error('it ended without a reason');
    expect(ended.exitCode).toBe(1);
    return ended.stderr;
  }

  test('NodePorts stay where they were, though the list is empty and the mode another, after a restart too', async () => {
    await theirs.program('nftables', { nodePortAddresses: [node.address, node.address6] });
    const servedOn = async () => /-d (\S+) .*-j KUBE-NODEPORTS$/m.exec(await theirs.rules('IPv4'))?.[1];
    await theirs.start('iptables');
    expect(await servedOn()).toBe(`${node.address}/32`);
    expect(theirs.told.join('\n')).toMatch(/^warn .*nodePortAddresses is empty, .*\["primary"\]/m);
    expect(theirs.told.join('\n')).not.toContain('NodePorts are served on');
    await lab.stopDaemon(theirs.daemon);
    await theirs.start('iptables');
    expect(theirs.told.join('\n')).toContain('nothing of kube-proxy is here to be taken over');
    expect(await servedOn()).toBe(`${node.address}/32`);
  });

  test('while a kube-proxy lives in its network namespace, nothing is taken over and nothing changed', async () => {
    await theirs.program('iptables');
    const before = await theirs.rules('IPv4');
    using elsewhere = fake(lab.netns('client'));
    {
      using here = fake(lab.netns(node.name));
      await eventually(async () => expect(await refusal()).toContain(`nothing is taken over: process ${here.pid} (`));
      expect(await refusal()).not.toContain(String(elsewhere.pid));
    }
    expect(await theirs.rules('IPv4')).toBe(before);
    await eventually(() => theirs.start('iptables'));
    await eventually(async () => expect(await theirs.chains('IPv4')).not.toContain('KUBE-PROXY-CANARY'));
  });

  test('one that cannot be seen is known by its port, and not confused with a daemon of ours', async () => {
    await theirs.program('nftables');
    const script = `require('node:http').createServer((_, reply) => reply.end('nftables')).listen(10249, '127.0.0.1')`;
    const command = [process.execPath, '-e', script];
    const server = spawn('ip', ['netns', 'exec', lab.netns(node.name), ...command], { env: markedEnv(lab.name) });
    try {
      const sign = 'http://127.0.0.1:10249/proxyMode answers as kube-proxy does';
      await eventually(async () => expect(await refusal()).toContain(`nothing is taken over: ${sign}`));
    } finally {
      server.kill('SIGKILL');
    }
    await eventually(() => theirs.start('nftables'));
    // The same ports, the same answers, but they say whose they are.
    const first = theirs.daemon;
    await theirs.start('nftables');
    await eventually(() => expect(theirs.told.join('\n')).toContain('this process writes the rules'));
    await lab.stopDaemon(first);
    expect(await theirs.tables()).toEqual(['ip kproxy-ts', 'ip6 kproxy-ts']);
  });

  test('in iptables-legacy it is found, taken over by nftables, and gone; the kubelet’s chains stay', async () => {
    await theirs.program('iptables', { variant: 'legacy' });
    const kubelets = await theirs.kubelets('IPv4', 'legacy');
    expect(kubelets).toHaveLength(8);
    await theirs.start('nftables');
    await eventually(async () => {
      for (const family of FAMILIES) expect(await theirs.chains(family, 'legacy')).toEqual([]);
    });
    expect(await theirs.kubelets('IPv4', 'legacy')).toEqual(kubelets);
    expect(theirs.told.join('\n')).toMatch(/^info IPv4 taken over from kube-proxy's iptables mode: \d+ ports/m);
    expect(theirs.told.join('\n')).toContain("kube-proxy's canary chains in iptables-legacy: removed");
    const count = enoughFor(lab.pods.length);
    const { failures } = await lab.probe('client', { address: node.address, port: web.nodePort, count });
    expect(failures).toEqual([]);
    for (const family of ['iptables', 'ip6tables']) {
      for (const table of ['filter', 'mangle']) {
        for (const flag of ['-F', '-X']) await lab.exec(node.name, [`${family}-legacy`, '-t', table, flag]);
      }
    }
  });

  test('unless asked to, its rules are left alone in nftables mode, and spoken of', async () => {
    await theirs.program('iptables');
    const before = await theirs.chains('IPv4');
    await theirs.start('nftables', []);
    await eventually(() => {
      expect(theirs.told.join('\n')).toMatch(/^warn .*kube-proxy's iptables rules are on this node/m);
    });
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
    expect(await theirs.chains('IPv4')).toEqual(before);
    expect(await theirs.tables()).toEqual(['ip kproxy-ts', 'ip6 kproxy-ts']);
    await lab.stopDaemon(theirs.daemon);
    const { stdout } = await lab.exec(node.name, ['kproxy-ts', 'cleanup']);
    expect(stdout).toContain('rules of the mode iptables stay: kube-proxy programmed them');
    expect(await theirs.chains('IPv4')).toEqual(before);
    expect(await theirs.tables()).toEqual([]);
  });

  /** A process of that name. */
  function fake(netns: string): ChildProcess & Disposable {
    const program = join(lab.directory, 'kube-proxy');
    copyFileSync('/usr/bin/sleep', `${program}.new`);
    const start = `mv -n ${program}.new ${program}; exec ${program} 600`;
    const child = spawn('ip', ['netns', 'exec', netns, 'sh', '-c', start], { env: markedEnv(lab.name) });
    return Object.assign(child, { [Symbol.dispose]: () => void child.kill('SIGKILL') });
  }
});
