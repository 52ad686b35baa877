/** What others do on a node and in its pods: udev, later plugins, administrators. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CniNode, DUAL, IPV4, linkIn } from './cni-node.ts';
import { describeUnless } from './requires.ts';

/** sysfs is of the namespace that mounts it, which `ip netns exec` does. */
const assignTypeOf = async (node: CniNode, netns: string, link: string) =>
  (await node.exec(['cat', `/sys/class/net/${link}/addr_assign_type`], netns)).stdout.trim();

/** linux/netdevice.h: a MAC that was given when the link was made is nobody's to change. */
const NET_ADDR_SET = '3';

describe('a node and pods that others change', () => {
  let node: CniNode;
  beforeEach(async () => {
    node = await CniNode.start('others', DUAL);
  });
  afterEach(() => node[Symbol.asyncDispose]());

  const check = (pod: string, prevResult: unknown) => node.call({ verb: 'CHECK', pod, config: { prevResult } });

  test('F14, A08: MACs of the bridge and of both ends are given, so that udev leaves them', async () => {
    const pod = await node.pod('f14');
    const [bridge, host, eth0] = (await node.add(pod)).result.interfaces!;
    expect(await assignTypeOf(node, node.netns, bridge!.name)).toBe(NET_ADDR_SET);
    expect(await assignTypeOf(node, node.netns, host!.name)).toBe(NET_ADDR_SET);
    expect(await assignTypeOf(node, node.nameOf(pod), eth0!.name)).toBe(NET_ADDR_SET);
  });

  test('K06: sysctls and qdiscs of later plugins, at both ends, are no fault; DEL takes the link all the same', async () => {
    const pod = await node.pod('k06');
    const { result } = await node.add(pod);
    const name = node.nameOf(pod);
    const shape = ['root', 'tbf', 'rate', '10mbit', 'burst', '20kb', 'latency', '10ms'];
    const [, host] = result.interfaces!;
    await node.exec(['tc', 'qdisc', 'add', 'dev', host!.name, ...shape]);
    await node.exec(['tc', 'qdisc', 'add', 'dev', host!.name, 'ingress']);
    await node.exec(['tc', 'qdisc', 'add', 'dev', 'eth0', ...shape], name);
    const settings = { 'ipv4.conf.eth0.rp_filter': '2', 'ipv4.conf.eth0.arp_notify': '0', 'core.somaxconn': '77' };
    for (const [key, value] of Object.entries(settings))
      await node.exec(['sysctl', '-qw', `net.${key}=${value}`], name);
    await node.exec(['sysctl', '-qw', `net.ipv4.conf.${host!.name}.rp_filter=2`]);
    expect(await check(pod, result)).toMatchObject({ status: 0, stdout: '' });
    const { stdout } = await node.exec(['tc', 'qdisc', 'show', 'dev', host!.name]);
    expect(stdout).toContain('tbf');
    expect(stdout).toContain('ingress');
    expect((await node.exec(['sysctl', '-n', 'net.ipv4.conf.eth0.rp_filter'], name)).stdout).toBe('2\n');
    expect((await node.del(pod)).status).toBe(0);
    expect(await node.residue()).toEqual([]);
  });

  test('F13: a node without IPv6 gives IPv4, and refuses IPv6 with nothing left', async () => {
    const pod = await node.pod('f13');
    for (const of of ['all', 'default']) await node.exec(['sysctl', '-qw', `net.ipv6.conf.${of}.disable_ipv6=1`]);
    const refused = await node.add(pod, { id: 'both' });
    expect(refused.code).toBe(103);
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    expect(await node.residue()).toEqual([]);
    expect((await node.del(pod, { id: 'both' })).status).toBe(0);
    const alone = { ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/24' }]] } };
    const { result } = await node.add(pod, { config: alone });
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pod));
    expect(await node.call({ verb: 'CHECK', pod, config: { ...alone, prevResult: result } })).toMatchObject({
      status: 0,
      stdout: '',
    });
    expect((await node.del(pod, { config: alone })).status).toBe(0);
    expect(await node.residue()).toEqual([]);
  });

  // Container runtimes switch IPv6 off in pods whose network they don't know; the bridge plugin switches it on for its interface too.
  test('F13: IPv6 that is switched off in a pod is on at an interface that has such an address, and off without', async () => {
    const pod = await node.pod('f13');
    const name = node.nameOf(pod);
    for (const of of ['all', 'default']) await node.exec(['sysctl', '-qw', `net.ipv6.conf.${of}.disable_ipv6=1`], name);
    const isOff = async () => (await node.exec(['sysctl', '-n', 'net.ipv6.conf.eth0.disable_ipv6'], name)).stdout;
    const alone = { ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/24' }]] } };
    await node.add(pod, { config: alone });
    expect(await isOff()).toBe('1\n');
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], name);
    await node.del(pod, { config: alone });
    expect((await node.add(pod)).status).toBe(0);
    expect(await isOff()).toBe('0\n');
    await node.exec(['ping', '-c1', '-W1', 'fd00:88::1'], name);
    await node.del(pod);
    expect(await node.residue()).toEqual([]);
  });

  test('F13: no program is needed: without iptables, or any other, everything works', async () => {
    await node.stopAgent();
    node.prepare = 'export PATH=/nonexistent';
    await node.startAgent();
    const pod = await node.pod('f13');
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }];
    const config = { runtimeConfig: { portMappings } };
    const { result } = await node.add(pod, { config });
    expect(await check(pod, result)).toMatchObject({ status: 0, stdout: '' });
    expect(await node.call({ verb: 'STATUS' })).toMatchObject({ status: 0, stdout: '' });
    expect((await node.residue()).filter(line => line.includes('8080'))).not.toEqual([]);
    expect((await node.del(pod, { config })).status).toBe(0);
    expect(await node.residue()).toEqual([]);
    expect(node.log.filter(line => line.startsWith('{"level":"error"'))).toEqual([]);
  });

  test('C04: what capabilities of other plugins say is passed over', async () => {
    const pod = await node.pod('c04');
    const runtimeConfig = {
      cgroupPath: '/kubepods/pod1/c1',
      deviceID: '0000:04:00.5',
      aliases: ['web', 'www'],
      infinibandGUID: 'c2:11:22:33:44:55:66:77',
    };
    const { result } = await node.add(pod, { config: { runtimeConfig } });
    expect(result.interfaces?.map(({ name }) => name)).toEqual(['cni0', expect.stringMatching(/^veth/), 'eth0']);
    expect(JSON.stringify(result)).not.toMatch(/kubepods|0000:04|www|c2:11/);
    expect(await check(pod, result)).toMatchObject({ status: 0, stdout: '' });
    expect((await node.del(pod, { config: { runtimeConfig } })).status).toBe(0);
    expect(await node.residue()).toEqual([]);
  });
});

/** Where Debian's package `udev` is: installed, or unpacked (`apt-get download udev && dpkg -x`) in a directory that CNI_UDEV names. */
const udevRoot = process.env.CNI_UDEV ?? '/';
const udev = {
  program: join(udevRoot, 'bin/udevadm'), // systemd-udevd by another name
  rules: join(udevRoot, 'lib/udev/rules.d/80-net-setup-link.rules'),
  links: join(udevRoot, 'lib/systemd/network/99-default.link'), // MACAddressPolicy=persistent
};
const noUdev = Object.values(udev).every(path => existsSync(path)) ? '' : 'no udev here, CNI_UDEV may name one';

describeUnless(noUdev, 'a node with udev', () => {
  let node: CniNode;
  let daemon: ChildProcess;
  beforeAll(async () => {
    node = await CniNode.start('udev', IPV4);
    daemon = await startUdev(node);
  });
  afterAll(async () => {
    const ended = once(daemon, 'exit');
    daemon.kill('SIGKILL');
    await ended;
    await node[Symbol.asyncDispose]();
  });

  /** Done with a link = it has written down what it knows of it. */
  const isDone = async (link: string) => {
    const index = (await node.exec(['cat', `/sys/class/net/${link}/ifindex`])).stdout.trim();
    return existsSync(join(node.directory, `udev/run/udev/data/n${index}`));
  };

  test('F14: MACs stay with MACAddressPolicy=persistent, which changes those of links that are made without', async () => {
    // It hears of links from some moment after its start on.
    const canaries = async () => {
      await node.exec(['ip', 'link', 'add', 'type', 'bridge']);
      const links = JSON.parse((await node.exec(['ip', '-j', 'link'])).stdout) as { ifname: string }[];
      const types = links.map(({ ifname }) => assignTypeOf(node, node.netns, ifname));
      return [(daemon.exitCode ?? daemon.signalCode) === null, (await Promise.all(types)).includes(NET_ADDR_SET)];
    };
    await expect.poll(canaries, { timeout: 30_000, interval: 300 }).toEqual([true, true]);
    const pod = await node.pod('f14');
    const { result } = await node.add(pod);
    for (const { name, mac } of result.interfaces!.slice(0, 2)) {
      await expect.poll(() => isDone(name), { timeout: 30_000 }).toBe(true);
      expect((await linkIn(node, node.netns, name))?.address).toBe(mac);
    }
    const check = { verb: 'CHECK', pod, config: { prevResult: result } };
    expect(await node.call(check)).toMatchObject({ status: 0, stdout: '' });
    await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pod));
    await node.del(pod);
  });
});

/**
 * udevd in the node's network namespace, whose links' events are the only ones that it hears, with a /run of its own. It ends, with what it started, with
 * the process that is returned. Process 1 of a namespace: as a child of the machine's process 1 it would end whatever else is in its cgroup.
 */
async function startUdev(node: CniNode): Promise<ChildProcess> {
  const directory = join(node.directory, 'udev');
  await mkdir(join(directory, 'run'), { recursive: true });
  await symlink(udev.program, join(directory, 'systemd-udevd'));
  const script = `cd ${directory}
    mkdir -p run/udev/rules.d run/systemd/network
    cp ${udev.rules} run/udev/rules.d/
    cp ${udev.links} run/systemd/network/
    mount --bind run /run
    exec ./systemd-udevd`;
  const apart = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', 'sh', '-ec', script];
  return spawn('ip', ['netns', 'exec', node.netns, ...apart], { stdio: ['ignore', 'ignore', 'inherit'] });
}
