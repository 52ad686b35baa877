import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { hostLinkOf } from '../../src/cni/wiring/names.ts';
import { CniNode, DUAL, linkIn } from './cni-node.ts';

/** The agent looks every 2 s. */
const SOON = { timeout: 20_000, interval: 100 };

describe('what others change under pods that live is put right', () => {
  let node: CniNode;
  let pods: string[];

  beforeAll(async () => {
    node = await CniNode.start('tending', DUAL);
    pods = await Promise.all(['one', 'two'].map(name => node.pod(name)));
  });
  afterEach(async () => {
    for (const [index, pod] of pods.entries()) await node.del(pod, { id: `c${index}` });
    expect(await node.residue()).toEqual([]);
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
  });

  const add = (index: number, config: object = {}) => node.add(pods[index]!, { id: `c${index}`, config });
  const hostLink = (index: number) => hostLinkOf({ network: 'kp', containerID: `c${index}`, ifname: 'eth0' });
  const sh = async (line: string) => (await node.exec(['sh', '-ec', line])).stdout.trim();
  const status = () => node.call({ verb: 'STATUS' });
  const addressesOf = async (name: string) =>
    (await linkIn(node, node.netns, name))?.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`) ?? [];
  const masterOf = async (index: number) => (await linkIn(node, node.netns, hostLink(index)))?.master;
  const reaches = async (index: number, ip = '10.88.0.1') =>
    node.exec(['ping', '-c1', '-W1', ip], node.nameOf(pods[index]!)).then(
      () => true,
      () => false,
    );

  /** STATUS says 51 and what until it is put right, or it is right already. */
  async function isPutRight(damage: string, problem: string, isRight: () => Promise<boolean>): Promise<void> {
    await sh(damage);
    const { code, message } = await status();
    if (code !== 0) expect({ code, message }).toEqual({ code: 51, message: expect.stringContaining(problem) });
    await expect.poll(isRight, SOON).toBe(true);
    expect(await status()).toMatchObject({ status: 0, stdout: '' });
  }

  test('F09: a bridge that an ADD makes again, and another one of its name, have the older ports too', async () => {
    await add(0);
    await sh('ip link del cni0');
    expect((await add(1)).status).toBe(0);
    await expect.poll(() => reaches(0), SOON).toBe(true);
    await expect.poll(() => reaches(1), SOON).toBe(true);
    await isPutRight(
      // Pods know the old one's MAC for a while.
      'mac=$(cat /sys/class/net/cni0/address); ip link del cni0; ip link add cni0 address $mac type bridge; ip link set cni0 up',
      'cni0',
      async () => (await reaches(0)) && (await reaches(1)) && (await reaches(0, 'fd00:88::1')),
    );
  });

  test("F09, S03: the bridge's addresses, its state, its ports", async () => {
    await add(0);
    const gateways = expect.arrayContaining(['10.88.0.1/24', 'fd00:88::1/64']);
    const isWhole = async () => gateways.asymmetricMatch(await addressesOf('cni0')) && (await reaches(0));
    await isPutRight('ip addr flush dev cni0', "cni0 lacks the gateway's address 10.88.0.1/24", isWhole);
    await isPutRight('ip addr del fd00:88::1/64 dev cni0', 'fd00:88::1/64', isWhole);
    await isPutRight('ip link set cni0 down', 'the bridge cni0 is down', isWhole);
    const link = hostLink(0);
    await isPutRight(
      `ip link set ${link} nomaster`,
      `${link} is not on the bridge cni0`,
      async () => (await masterOf(0)) === 'cni0' && (await reaches(0)),
    );
    await isPutRight(`ip link set ${link} down`, `${link} is down`, isWhole);
  });

  test('F09, S03: forwarding, and route_localnet under a hostPort', async () => {
    await add(0, { runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] } });
    for (const name of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding', 'net.ipv4.conf.cni0.route_localnet'])
      await isPutRight(
        `sysctl -w ${name}=0`,
        `${name} is off`,
        async () => (await sh(`cat /proc/sys/${name.replaceAll('.', '/')}`)) === '1',
      );
  });

  test('F09: a bridge with an address of somebody else keeps it, and has ours again', async () => {
    await add(0);
    await isPutRight('ip addr flush dev cni0; ip addr add 10.99.0.1/24 dev cni0', '10.88.0.1/24', () => reaches(0));
    expect(await addressesOf('cni0')).toContain('10.99.0.1/24');
    await sh('ip addr del 10.99.0.1/24 dev cni0');
  });

  test('a socket that somebody removed is there again', async () => {
    await sh(`rm ${node.directory}/cni.sock`);
    // The look may have come between.
    const { code } = await add(0);
    if (code !== 0) {
      expect(code).toBe(11);
      await expect.poll(async () => (await add(0)).code, SOON).toBe(0);
    }
    await node.leases();
    expect(node.log.join('\n')).toContain("somebody removed the agent's socket");
  });

  test("gateways of a range that the node has no more go with its last pod, over the agent's restart too; others' stay", async () => {
    await add(0);
    await sh('ip addr add 10.99.0.1/24 dev cni0');
    node.tell({ ...DUAL, podCIDRs: ['10.77.0.0/24', 'fd00:77::/64'] });
    expect((await add(1)).result.ips![0]!.address).toMatch(/^10\.77\./);
    await node.stopAgent();
    await node.startAgent();
    // The first sweep was before the agent listened.
    const [old, now] = [
      ['10.88.0.1/24', 'fd00:88::1/64'],
      ['10.77.0.1/24', 'fd00:77::1/64', '10.99.0.1/24'],
    ];
    expect(await addressesOf('cni0')).toEqual(expect.arrayContaining([...old, ...now]));
    expect(await reaches(0)).toBe(true);
    await node.del(pods[0]!, { id: 'c0' });
    await expect.poll(() => addressesOf('cni0'), { ...SOON, timeout: 60_000 }).not.toContain('10.88.0.1/24');
    expect(await addressesOf('cni0')).toEqual(expect.arrayContaining(now));
    expect(await addressesOf('cni0')).not.toContain('fd00:88::1/64');
    expect(await reaches(1, '10.77.0.1')).toBe(true);
    await node.del(pods[1]!, { id: 'c1' });
    await node.stopAgent();
    await node.startAgent(DUAL);
    expect(await addressesOf('cni0')).not.toContain('10.77.0.1/24');
    expect(await addressesOf('cni0')).toContain('10.99.0.1/24');
    await sh('ip addr del 10.99.0.1/24 dev cni0');
  }, 90_000);

  test('a bridge that has another name in the configuration while pods live is refused, naming both', async () => {
    await add(0);
    const renamed = { bridge: 'cni1' };
    for (const _ of [1, 2]) {
      const refused = await add(1, renamed);
      expect(refused).toMatchObject({ code: 105, message: expect.stringMatching(/"cni0".*"cni1"/) });
    }
    expect(await linkIn(node, node.netns, 'cni1')).toBeUndefined();
    await node.del(pods[0]!, { id: 'c0' });
    await sh('ip link del cni0');
    expect((await add(1, renamed)).status).toBe(0);
    expect(await reaches(1)).toBe(true);
    await node.del(pods[1]!, { id: 'c1' });
    await sh('ip link del cni1');
  });

  test('P02: the hostPort and the address of a pod that went without a DEL are free at once', async () => {
    const config = {
      runtimeConfig: { portMappings: [{ hostPort: 8081, containerPort: 80, protocol: 'tcp' }], ips: ['10.88.0.77/24'] },
    };
    // The sweep may come between, but not each time.
    for (const id of ['gone0', 'gone1', 'gone2']) {
      const pod = await node.pod(id);
      expect((await node.add(pod, { id, config })).status).toBe(0);
      expect(await add(0, config)).toMatchObject({ code: 102, message: expect.stringContaining(id) });
      await node.removePod(pod);
      const link = hostLinkOf({ network: 'kp', containerID: id, ifname: 'eth0' });
      await expect.poll(() => linkIn(node, node.netns, link), SOON).toBeUndefined();
      expect((await add(0, config)).result.ips![0]!.address).toBe('10.88.0.77/24');
      await node.del(pods[0]!, { id: 'c0' });
    }
  });
});
