import { chmod, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { resultProblems } from '../fakes/cni-results.ts';
import { type Call, CniNode, DUAL, kproxyCni, linkIn } from './cni-node.ts';

const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];

describe('the executable', () => {
  let node: CniNode;
  let pod: string;
  let plugins: string;
  beforeAll(async () => {
    node = await CniNode.start('plugin', DUAL);
    pod = await node.pod('one');
    plugins = await mkdtemp(join(tmpdir(), 'cni-plugins-'));
  });
  afterAll(async () => {
    await rm(plugins, { recursive: true });
    await node[Symbol.asyncDispose]();
  });

  /** An IPAM plugin that notes how it was called. */
  async function script(name: string, body: string): Promise<string> {
    const log = join(plugins, `${name}.log`);
    const path = join(plugins, name);
    await writeFile(path, `#!/bin/sh\necho "$CNI_COMMAND $CNI_CONTAINERID" >> ${log}\ninput=$(cat)\n${body}\n`);
    await chmod(path, 0o755);
    return log;
  }

  test('V01, V02, V03: versions, echoed', async () => {
    for (const [stdin, version] of [
      ['{"cniVersion":"1.1.0"}', '1.1.0'],
      ['{"cniVersion":"0.4.0"}', '0.4.0'],
      ['', '1.1.0'],
    ]) {
      const { status, stdout } = await node.call({ verb: 'VERSION', stdin: stdin! });
      expect([status, JSON.parse(stdout)]).toEqual([0, { cniVersion: version, supportedVersions: VERSIONS }]);
    }
  });

  test('V04, V05, V06: no verb, none of ours, and variables that mean nothing', async () => {
    const about = await node.call({ verb: 'ADD', env: { CNI_COMMAND: undefined } });
    expect(about).toMatchObject({ status: 0, stdout: '', stderr: expect.stringContaining('1.1.0') });
    const foo = await node.call({ verb: 'FOO' });
    expect(JSON.parse(foo.stdout)).toMatchObject({ cniVersion: '1.1.0', code: 4, msg: expect.stringContaining('FOO') });
    const env = { TRACEPARENT: '00-a-b-01', CNI_FUTURE: 'x', LANG: 'xx', HOME: undefined };
    expect((await node.call({ verb: 'STATUS', env })).status).toBe(0);
  });

  test.each<[string, Partial<Call>, number]>([
    [
      'E01 everything',
      { env: { CNI_CONTAINERID: undefined, CNI_NETNS: undefined, CNI_IFNAME: undefined, CNI_PATH: undefined } },
      4,
    ],
    ['E02 id a/b', { id: 'a/b' }, 4],
    ['E02 no id', { id: '' }, 4],
    ['E02 id -x', { id: '-x' }, 4],
    ['E03 16 characters', { ifname: 'a234567890123456' }, 4],
    ['E03 ..', { ifname: '..' }, 4],
    ['E03 a:b', { ifname: 'a:b' }, 4],
    ['E04 nothing', { stdin: '' }, 6],
    ['E04 {', { stdin: '{' }, 6],
    ['E04 a BOM', { stdin: '\ufeff{}' }, 6],
    ['E04 more behind', { stdin: '{} x' }, 6],
    ['E05 no name', { config: { name: undefined } }, 7],
    ['E05 ../x', { config: { name: '../x' } }, 7],
    ['E06 9.9.9', { config: { cniVersion: '9.9.9' } }, 1],
    ['E06 a number', { config: { cniVersion: 1 } }, 6],
    ['E14 A', { args: 'A' }, 4],
    ['E14 an unknown key', { args: 'FOO=1' }, 4],
    ['E10 a file', { pod: kproxyCni }, 4],
    ['E09 nothing there', { pod: '/run/netns/nowhere' }, 4],
    ['E11 its own', { pod: '/proc/self/ns/net' }, 8],
  ])('%s is refused, in one document that has the version, and nothing is made', async (_what, more, code) => {
    const answer = await node.call({ verb: 'ADD', pod, ...more });
    expect(JSON.parse(answer.stdout)).toMatchObject({ cniVersion: expect.any(String), code });
    expect(answer.status).not.toBe(0);
    expect(await node.residue()).toEqual([]);
  });

  test('E02, E03, E07, E08: long names, keys in other letters and unknown ones, five megabytes', async () => {
    const id = 'x'.repeat(250);
    const config = {
      BRIDGE: 'BR0',
      bridge: undefined,
      whatever: { x: 1 },
      args: { x: 1 },
      padding: 'x'.repeat(5_000_000),
    };
    const answer = await node.add(pod, { id, ifname: 'fifteenletters1', config });
    expect(answer.result.interfaces?.[0]?.name).toBe('BR0');
    expect((await node.del(pod, { id, ifname: 'fifteenletters1' })).status).toBe(0);
    expect(await node.residue()).toEqual([]);
  });

  test.each(VERSIONS)('R01, R02, R03: the same ADD, as %s has it', async cniVersion => {
    const { status, stdout } = await node.add(pod, { config: { cniVersion } });
    expect(status).toBe(0);
    const result = JSON.parse(stdout) as { cniVersion: string };
    expect(result.cniVersion).toBe(cniVersion);
    expect(resultProblems(result, cniVersion)).toEqual([]);
    expect((await node.del(pod, { config: { cniVersion } })).status).toBe(0);
  });

  test('A20, A21, D12: addresses of another plugin; its failures are ours, and leave nothing', async () => {
    const ok = `case $CNI_COMMAND in ADD) echo '{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.5/24","gateway":"10.77.0.1"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{"nameservers":["10.77.0.9"]}}';; esac; echo said >&2`;
    const log = await script('fine', ok);
    const config = { bridge: 'br-a20', ipam: { type: 'fine' } };
    const answer = await node.add(pod, { path: plugins, config });
    expect(answer.result).toMatchObject({
      ips: [{ address: '10.77.0.5/24', interface: 2 }],
      dns: { nameservers: ['10.77.0.9'] },
    });
    expect(answer.stderr).toContain('said');
    expect((await node.exec(['ip', 'route'], node.nameOf(pod))).stdout).toContain('default via 10.77.0.1');
    expect((await node.del(pod, { path: plugins, config })).status).toBe(0);
    expect(await readFile(log, 'utf8')).toBe('ADD c1\nDEL c1\n');

    const failing = await script(
      'failing',
      `case $CNI_COMMAND in ADD) echo '{"code":42,"msg":"no luck"}'; exit 1;; esac`,
    );
    const refused = await node.add(pod, { path: plugins, config: { ipam: { type: 'failing' } } });
    expect(refused).toMatchObject({ code: 42, message: expect.stringContaining('no luck') });
    expect(await readFile(failing, 'utf8')).toBe('ADD c1\nDEL c1\n');
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    const absent = await node.add(pod, { path: plugins, config: { ipam: { type: 'nowhere' } } });
    expect(absent).toMatchObject({ code: 7, message: expect.stringContaining('CNI_PATH') });

    await script('sticky', ok.replace('esac', `DEL) echo '{"code":43,"msg":"stuck"}'; exit 1;; esac`));
    const sticky = { path: plugins, config: { bridge: 'br-a20', ipam: { type: 'sticky' } } };
    await node.add(pod, sticky);
    expect((await node.del(pod, sticky)).code).toBe(43);
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    expect(await node.residue()).toEqual([]);
  });

  test('A22: behind another plugin that made the interface: hostPorts, and its result as it was', async () => {
    await node.exec(['ip', 'link', 'add', 'other0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', node.nameOf(pod)]);
    const prevResult = {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'other0' }, { name: 'eth0', sandbox: pod }],
      ips: [{ address: '10.66.0.5/24', interface: 1 }],
    };
    const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] };
    const { result } = await node.add(pod, { config: { ipam: undefined, ipMasq: false, runtimeConfig, prevResult } });
    expect(result).toEqual(prevResult);
    expect((await node.exec(['nft', 'list', 'ruleset'])).stdout).toContain('10.66.0.5 . 80');
    expect((await node.call({ verb: 'CHECK', pod, config: { ipam: undefined, prevResult } })).status).toBe(0);
    expect((await node.del(pod, { config: { ipam: undefined, prevResult } })).status).toBe(0);
    await node.exec(['ip', 'link', 'del', 'other0']);
    expect(await node.residue()).toEqual([]);
  });

  test('R04: as the IPAM plugin of another, it gives addresses and nothing else', async () => {
    const config = { type: 'bridge', ipMasq: undefined };
    const { result } = await node.add(pod, { config });
    expect(result.interfaces).toBeUndefined();
    expect(result.ips?.map(({ interface: index }) => index)).toEqual([undefined, undefined]);
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    expect((await node.del(pod, { config })).status).toBe(0);
    expect(await node.residue()).toEqual([]);
  });

  test('R04: the name that it is called by says as what; one that is neither is refused, but for a DEL', async () => {
    const link = async (name: string) => {
      await symlink(kproxyCni, join(plugins, name));
      return join(plugins, name);
    };
    const [hostLocal, bridge, ours] = [await link('host-local'), await link('bridge'), await link('my-net')];
    const ranges = [[{ subnet: '10.97.0.0/24' }]];
    const isLinked = async () => (await linkIn(node, node.nameOf(pod), 'eth0')) !== undefined;

    const ofBridge = { type: 'bridge', bridge: 'br-r04', ipam: { type: 'host-local', ranges } };
    const asIpam = await node.add(pod, { program: hostLocal, path: plugins, config: ofBridge });
    expect([asIpam.result.interfaces, asIpam.result.ips]).toEqual([
      undefined,
      [{ address: '10.97.0.2/24', gateway: '10.97.0.1' }],
    ]);
    expect(await isLinked()).toBe(false);
    expect((await node.del(pod, { program: hostLocal, path: plugins, config: ofBridge })).status).toBe(0);

    for (const [program, config] of [
      [bridge, ofBridge],
      [bridge, { ...ofBridge, ipam: { type: 'kproxy-cni', ranges } }],
      [ours, { ...ofBridge, type: 'my-net', ipam: { type: 'my-net', ranges } }],
    ] as const) {
      const { result } = await node.add(pod, { program, path: plugins, config });
      expect([result.interfaces?.length, result.ips?.length, await isLinked()]).toEqual([3, 1, true]);
      expect((await node.del(pod, { program, path: plugins, config })).status).toBe(0);
    }

    const foreign = { type: 'bridge', ipam: { type: 'static' } };
    const refused = await node.add(pod, { config: foreign });
    expect(refused).toMatchObject({ code: 7, message: expect.stringContaining('"bridge"') });
    expect(await isLinked()).toBe(false);
    const removed = await node.del(pod, { config: foreign });
    expect([removed.status, removed.stderr]).toEqual([0, expect.stringContaining('"bridge"')]);
    await node.exec(['ip', 'link', 'del', 'br-r04']);
    expect(await node.residue()).toEqual([]);
  });

  test('loopback comes with it', async () => {
    const program = join(plugins, 'loopback');
    await symlink(kproxyCni, program);
    const bare = await node.pod('bare');
    await node.exec(['ip', 'link', 'set', 'lo', 'down'], node.nameOf(bare));
    const config = { type: 'loopback', ipam: undefined };
    const { result } = await node.add(bare, { program, ifname: 'lo', config });
    expect(result.ips?.map(({ address }) => address)).toContain('127.0.0.1/8');
    expect((await linkIn(node, node.nameOf(bare), 'lo'))?.flags).toContain('UP');
    expect((await node.del(bare, { program, ifname: 'lo', config })).status).toBe(0);
  });

  test('R01: two addresses that are known only when the agent has done its work: undone, then refused', async () => {
    const prevResult = { cniVersion: '0.2.0', ip4: { ip: '10.66.0.5/24' }, dns: {} };
    const refused = await node.add(pod, { config: { cniVersion: '0.2.0', prevResult } });
    expect(refused).toMatchObject({ status: 1, code: 1, message: expect.stringContaining('several addresses') });
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    expect(await node.residue()).toEqual([]);
  });

  test('E16: somebody who is not root is told so at once', async () => {
    const { stdout, milliseconds } = await node.call({ verb: 'ADD', pod, program: await setpriv(plugins) });
    expect(JSON.parse(stdout)).toMatchObject({ code: 103 });
    expect(milliseconds).toBeLessThan(1000);
  });
});

/** A wrapper that runs the executable as another user. */
async function setpriv(directory: string): Promise<string> {
  const path = join(directory, 'as-user');
  await chmod(directory, 0o755);
  await writeFile(path, `#!/bin/sh\nexec setpriv --reuid=1000 --regid=1000 --clear-groups ${kproxyCni}\n`);
  await chmod(path, 0o755);
  return path;
}
