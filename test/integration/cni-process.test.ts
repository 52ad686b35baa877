import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { resultProblems } from '../fakes/cni-results.ts';
import { type Call, CniNode, DUAL, kproxyCni, linkIn } from './cni-node.ts';

const WITHOUT_MTU = ['0.3.0', '0.3.1', '0.4.0', '1.0.0'];

let node: CniNode;
let pod: string;
let plugins: string;
beforeAll(async () => {
  node = await CniNode.start('process', DUAL);
  pod = await node.pod('one');
  plugins = await mkdtemp(join(tmpdir(), 'cni-process-'));
});
afterEach(async () => {
  expect(await node.residue()).toEqual([]);
});
afterAll(async () => {
  await rm(plugins, { recursive: true });
  await node[Symbol.asyncDispose]();
});

/** A program of this text; its path. What it notes is in files that begin with its own path. */
async function script(name: string, body: string, shell = '/bin/sh'): Promise<string> {
  const path = join(plugins, name);
  await writeFile(path, `#!${shell}\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

const del = async (more: Partial<Call> = {}) =>
  expect(await node.del(pod, more)).toMatchObject({ status: 0, stdout: '' });

describe('the process', () => {
  test('V06: arguments, a working directory that is gone, no HOME', async () => {
    const program = await script(
      'odd',
      `d=$(mktemp -d) && cd "$d" && rmdir "$d" && exec ${kproxyCni} --help ADD /nowhere`,
    );
    const odd = { program, env: { HOME: undefined, CNI_WHATEVER: '1', LANG: 'xx_XX' } };
    const { result } = await node.add(pod, odd);
    expect(result.ips).toHaveLength(2);
    await del(odd);
  });

  test.each([
    ['closed', `exec ${kproxyCni} >&-`],
    ['full', `exec ${kproxyCni} > /dev/full`],
    ['a pipe that nobody reads', `exec 3> >(exec true); wait $!; exec ${kproxyCni} >&3`],
  ])('V07: an output that is %s is no success, and a DEL takes what is left', async (what, body) => {
    const program = await script(`output-${what.length}`, body, '/bin/bash');
    const id = `v07-${what.length}`;
    const answer = await node.add(pod, { program, id });
    expect(answer.status).not.toBe(0);
    expect(answer.stdout).toBe('');
    expect((await node.leases()).map(({ containerID }) => containerID)).toContain(id); // all but the answer was done
    await del({ id });
  });

  test('E08: an input that never ends, and one that is too long', async () => {
    const env = {
      ...process.env,
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'c1',
      CNI_NETNS: pod,
      CNI_IFNAME: 'eth0',
      CNI_PATH: plugins,
    };
    const child = spawn('ip', ['netns', 'exec', node.netns, kproxyCni], { env, stdio: ['pipe', 'pipe', 'inherit'] });
    const began = performance.now();
    child.stdin.write('{"cniVersion":"1.1.0",');
    const chunks: Buffer[] = [];
    child.stdout.on('data', chunk => chunks.push(chunk));
    const long = await node.add(pod, { stdin: `{"name":"${'x'.repeat(64 * 1024 * 1024)}"}` });
    expect(long.code).toBe(7);
    expect(long.milliseconds).toBeLessThan(3000);
    const [status] = await once(child, 'close');
    expect(performance.now() - began).toBeLessThan(10_000);
    expect([status, JSON.parse(Buffer.concat(chunks).toString())]).toMatchObject([1, { code: 5, cniVersion: '1.1.0' }]);
  }, 15_000);
});

describe('the environment and the configuration', () => {
  test('E01: each variable by its name; a DEL needs no namespace', async () => {
    const names = ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'];
    const without = (missing: readonly string[]) =>
      node.call({ verb: 'ADD', pod, env: Object.fromEntries(missing.map(name => [name, undefined])) });
    for (const missing of [...names.map(name => [name]), names]) {
      const { code, message, stdout } = await without(missing);
      expect(code).toBe(4);
      for (const name of names) expect(`${message} ${stdout}`.includes(name)).toBe(missing.includes(name));
    }
    await del({ env: { CNI_NETNS: undefined } });
  });

  test.each<[string, Partial<Call>, readonly number[]]>([
    ['E02 id with a space', { id: 'a b' }, [4]],
    ['E03 a/b', { ifname: 'a/b' }, [4]],
    ['E03 a space', { ifname: 'a b' }, [4]],
    ['E04 []', { stdin: '[]' }, [6, 7]],
    ['E04 7', { stdin: '7' }, [6, 7]],
    ['E04 null', { stdin: 'null' }, [6, 7]],
    ['E05 -x', { config: { name: '-x' } }, [7]],
    ['E05 a space', { config: { name: 'a b' } }, [7]],
    ['E06 1.1', { config: { cniVersion: '1.1' } }, [1]],
    ['E14 a key between others', { args: 'K8S_POD_NAME=x;FOO=1;IP=10.88.0.9' }, [4]],
    ['A22 a previous result of no form', { config: { prevResult: { ips: 7 } } }, [6]],
  ])('%s is refused', async (_what, more, codes) => {
    const answer = await node.call({ verb: 'ADD', pod, ...more });
    expect(answer.status).not.toBe(0);
    expect(codes).toContain(answer.code);
    expect(JSON.parse(answer.stdout)).toMatchObject({
      cniVersion: expect.any(String),
      msg: expect.stringMatching(/./),
    });
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
  });

  test('E06: without a version it is 0.1.0', async () => {
    const { stdout } = await node.add(pod, { config: { cniVersion: undefined } });
    expect(resultProblems(JSON.parse(stdout), '0.1.0')).toEqual([]);
    await del({ config: { cniVersion: undefined } });
  });

  test('E10: a DEL whose namespace is a file takes the attachment all the same', async () => {
    await node.add(pod);
    await del({ pod: kproxyCni });
  });

  test('E11: the namespace of the node by another name', async () => {
    const answer = await node.add(`/run/netns/${node.netns}`);
    expect(answer.code).toBe(8);
    expect(await linkIn(node, node.netns, 'eth0')).toBeUndefined();
    await del({ pod: `/run/netns/${node.netns}` });
  });

  test('E14, C03, C04: keys of CNI_ARGS in any order, and capabilities that are not ours', async () => {
    const args = 'FOO=1;K8S_POD_NAME=web;IgnoreUnknown=1;K8S_POD_NAMESPACE=shop';
    const runtimeConfig = { cgroupPath: '/x', deviceID: '0000:00:00.0', aliases: ['x'], infinibandGUID: 'y' };
    expect((await node.add(pod, { args, config: { runtimeConfig } })).status).toBe(0);
    await del({ args });
  });

  test('A23: the state of lo is left to others', async () => {
    const lo = async () => (await linkIn(node, node.nameOf(pod), 'lo'))?.flags.includes('UP');
    const states = ['down', 'up'] as const;
    for (const state of states) {
      await node.exec(['ip', 'link', 'set', 'lo', state], node.nameOf(pod));
      expect((await node.add(pod)).status).toBe(0);
      expect(await lo()).toBe(state === 'up');
      await del();
      expect(await lo()).toBe(state === 'up');
    }
  });

  test('C01, C02: limits of one way, the other, both and none; a DEL that names none takes them', async () => {
    const queues = async () => {
      const { stdout } = await node.exec(['tc', '-j', 'qdisc']);
      const list = JSON.parse(stdout) as { kind: string; dev: string }[];
      return list.filter(({ kind }) => kind === 'tbf').map(({ dev }) => dev);
    };
    const ifbs = async () =>
      (
        JSON.parse((await node.exec(['ip', '-j', 'link', 'show', 'type', 'ifb'])).stdout) as { ifname?: string }[]
      ).flatMap(({ ifname }) => (ifname === undefined ? [] : [ifname]));
    const ingress = { ingressRate: 10_000_000, ingressBurst: 2 ** 32 - 1 };
    const egress = { egressRate: 5_000_000, egressBurst: 1_000_000 };
    const none = { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0 };
    for (const [bandwidth, comes, goes] of [
      [ingress, true, false],
      [egress, false, true],
      [{ ...ingress, ...egress }, true, true],
      [none, false, false],
    ] as const) {
      const { result } = await node.add(pod, { config: { runtimeConfig: { bandwidth } } });
      const shapers = await ifbs();
      expect(shapers).toHaveLength(goes ? 1 : 0);
      expect((await queues()).sort()).toEqual([...(comes ? [result.interfaces![1]!.name] : []), ...shapers].sort());
      await node.exec(['ping', '-c1', '-W1', '10.88.0.1'], node.nameOf(pod));
      await del();
      expect([await ifbs(), await queues()]).toEqual([[], []]);
    }
  });
});

describe('results', () => {
  test('R01: two addresses of a family are too many for 0.2.0, and nothing is left', async () => {
    const ranges = [[{ subnet: '10.91.1.0/24' }], [{ subnet: '10.91.2.0/24' }]];
    const config = { name: 'r01', bridge: 'br-r01', ipam: { type: 'host-local', ranges } };
    const refused = await node.add(pod, { config: { ...config, cniVersion: '0.2.0' } });
    expect([refused.status, refused.code === 0]).toEqual([1, false]);
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    expect(await node.residue()).toEqual([]);
    expect(await linkIn(node, node.netns, 'br-r01')).toBeUndefined(); // nothing was begun
    expect((await node.add(pod, { config })).result.ips).toHaveLength(2);
    await del({ config });
  });

  test.each(WITHOUT_MTU)('R03: fields that came later are not in one of %s', async cniVersion => {
    const routes = [{ dst: '198.51.100.0/24', priority: 7, mtu: 1300, advmss: 1260, table: 100, scope: 0 }];
    const config = { cniVersion, mtu: 1400, ipam: { type: 'kproxy-cni', routes } };
    const { stdout } = await node.add(pod, { config });
    expect(resultProblems(JSON.parse(stdout), cniVersion)).toEqual([]);
    await del({ config });
  });

  test('A22: what a plugin before us made is in front of what we make', async () => {
    const before = {
      interfaces: [{ name: 'net7', sandbox: pod }],
      ips: [{ address: '10.66.0.5/24', interface: 0 }],
      routes: [{ dst: '198.51.100.0/24' }],
    };
    const { result } = await node.add(pod, { config: { prevResult: { cniVersion: '1.1.0', ...before } } });
    expect(result.interfaces?.map(({ name }) => name)).toEqual(['net7', 'cni0', expect.any(String), 'eth0']);
    expect(result.ips?.map(({ interface: index }) => index)).toEqual([0, 3, 3]);
    expect(result.routes).toEqual([...before.routes, ...DEFAULT_ROUTES]);
    await del();
  });
});

const DEFAULT_ROUTES = [expect.objectContaining({ dst: '0.0.0.0/0' }), expect.objectContaining({ dst: '::/0' })];

describe('another IPAM plugin', () => {
  const gives = `echo '{"cniVersion":"1.1.0","ips":[{"address":"10.77.0.5/24","gateway":"10.77.0.1"}]}'`;
  const config = (type: string) => ({ bridge: 'br-ipam', ipam: { type } });

  test('A20: it gets the environment and the whole input', async () => {
    const path = await script('curious', `env > "$0.$CNI_COMMAND.env"; cat > "$0.$CNI_COMMAND.in"; ${gives}`);
    const call = { path: plugins, args: 'IgnoreUnknown=1;FOO=1', env: { TRACEPARENT: '00-x' } };
    const asked = { ...config('curious'), own: { deep: [1, null, 'ä'] }, runtimeConfig: { ips: ['10.77.0.5'] } };
    expect((await node.add(pod, { ...call, config: asked })).status).toBe(0);
    await del({ ...call, config: asked });
    for (const verb of ['ADD', 'DEL']) {
      expect(JSON.parse(await readFile(`${path}.${verb}.in`, 'utf8'))).toEqual(node.configuration(asked));
      expect((await readFile(`${path}.${verb}.env`, 'utf8')).split('\n')).toEqual(
        expect.arrayContaining([
          ...[`CNI_COMMAND=${verb}`, 'CNI_CONTAINERID=c1', `CNI_NETNS=${pod}`, 'CNI_IFNAME=eth0'],
          ...[`CNI_PATH=${plugins}`, 'CNI_ARGS=IgnoreUnknown=1;FOO=1', 'TRACEPARENT=00-x'],
        ]),
      );
    }
  });

  test.each([
    ['no JSON', 'echo nonsense'],
    ['nothing', 'true'],
    ['no address', `echo '{"cniVersion":"1.1.0","ips":[]}'`],
    ['no result', `echo '{"ips":[{"address":"x"}]}'`],
    ['a failure without a word', 'exit 3'],
    ['its death', 'kill -9 $$'],
  ])('A21: %s is an error that names it, after a DEL of it', async (_what, answer) => {
    const path = await script(
      'bad',
      `cat > /dev/null; echo $CNI_COMMAND >> "$0.log"; [ $CNI_COMMAND = DEL ] || { ${answer}; }`,
    );
    await rm(`${path}.log`, { force: true });
    const refused = await node.add(pod, { path: plugins, config: config('bad') });
    expect(refused).toMatchObject({ status: 1, message: expect.stringContaining('bad') });
    expect(refused.code).toBeGreaterThan(0);
    expect(await readFile(`${path}.log`, 'utf8')).toBe('ADD\nDEL\n');
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
  });

  test('A21: it is told to take back what it gave where the rest fails', async () => {
    const path = await script('giver', `cat > /dev/null; echo $CNI_COMMAND >> "$0.log"; ${gives}`);
    await node.exec(['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other'], node.nameOf(pod));
    expect((await node.add(pod, { path: plugins, config: config('giver') })).code).toBe(106);
    expect(await readFile(`${path}.log`, 'utf8')).toBe('ADD\nDEL\n');
    await node.exec(['ip', 'link', 'del', 'eth0'], node.nameOf(pod));
  });

  test('D12: where it fails to delete, all else is gone, and the next DEL finishes', async () => {
    const fails = `if [ $CNI_COMMAND = DEL ] && [ ! -e "$0.tried" ]; then touch "$0.tried"; echo '{"code":43,"msg":"stuck"}'; exit 1; fi`;
    await script('late', `cat > /dev/null; ${fails}; [ $CNI_COMMAND = DEL ] || ${gives}`);
    const call = { path: plugins, config: config('late') };
    expect((await node.add(pod, call)).status).toBe(0);
    expect(await node.del(pod, call)).toMatchObject({ code: 43, message: expect.stringContaining('stuck') });
    expect(await linkIn(node, node.nameOf(pod), 'eth0')).toBeUndefined();
    expect(await node.residue()).toEqual([]);
    await del(call);
  });

  test('K08, S04, G05: what it says to CHECK, STATUS and GC is said', async () => {
    const says = `[ $CNI_COMMAND = DEL ] || { echo "{\\"code\\":44,\\"msg\\":\\"no $CNI_COMMAND\\"}"; exit 1; }`;
    await script('sour', `cat > /dev/null; if [ $CNI_COMMAND = ADD ]; then ${gives}; else ${says}; fi`);
    const call = { path: plugins, config: config('sour') };
    const { result: prevResult } = await node.add(pod, call);
    const more = { prevResult, 'cni.dev/valid-attachments': [] };
    for (const verb of ['CHECK', 'STATUS', 'GC']) {
      const answer = await node.call({ verb, pod, path: plugins, config: { ...call.config, ...more } });
      expect(answer).toMatchObject({ code: 44, message: expect.stringContaining(`no ${verb}`) });
    }
    await del(call); // GC took ours, whatever the other said
  });
});
