/** The executable and the agent when one of them is replaced: by another file, by another version. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { AgentReply, AgentRequest } from '../../src/cni/types.ts';
import { type Answer, CniNode, IPV4, kproxyCni, linkIn } from './cni-node.ts';

const PARALLEL = 50;
const PODS = 5;

let node: CniNode;
let pods: string[];
let directory: string;
beforeAll(async () => {
  node = await CniNode.start('versions', IPV4);
  pods = await Promise.all(Array.from({ length: PODS }, (_, index) => node.pod(`v${index}`)));
  directory = await mkdtemp(join(tmpdir(), 'cni-versions-'));
});
afterEach(async () => {
  expect(await node.residue()).toEqual([]);
});
afterAll(async () => {
  await rm(directory, { recursive: true });
  await node[Symbol.asyncDispose]();
});

/**
 * Replaces a program by itself, as an installer does, until the end; then tells how often it has. In a process of its own: one that also starts
 * programs would hand them, for a moment, the file that it writes, and that file were busy.
 */
function replacer(program: string) {
  const loop = 'n=0; while [ ! -e "$2.end" ]; do cp "$1" "$2.new"; mv "$2.new" "$2"; n=$((n + 1)); done; echo $n';
  const child = spawn('sh', ['-c', loop, 'sh', kproxyCni, program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const counted = text(child.stdout);
  return {
    end: async () => {
      await writeFile(`${program}.end`, '');
      return Number(await counted);
    },
  };
}

describe('a new executable', () => {
  test('Z06: takes the place of the old one by its name, again and again, during 50 ADDs at once', async () => {
    const program = join(directory, 'kproxy-cni');
    await copyFile(kproxyCni, program);
    const attachments = Array.from({ length: PARALLEL }, (_, index) => ({
      pod: pods[index % PODS]!,
      // A pod has one default route.
      more: { id: `z06-${index}`, ifname: `eth${index}`, program, config: { isDefaultGateway: false } },
    }));
    const replacing = replacer(program);
    const added = await Promise.all(attachments.map(({ pod, more }) => node.add(pod, more)));
    const replaced = await replacing.end();
    expect(added.map(({ status, stderr }) => [status, stderr])).toEqual(attachments.map(() => [0, '']));
    expect(new Set(added.map(({ result }) => result.ips?.[0]?.address)).size).toBe(PARALLEL);
    expect(replaced).toBeGreaterThan(1);
    const deleted = await Promise.all(attachments.map(({ pod, more }) => node.del(pod, more)));
    expect(deleted.map(({ status }) => status)).toEqual(attachments.map(() => 0));
  }, 120_000);
});

/** A line to the real agent, as a plugin of another version would say it; the line that comes. */
async function tell(line: string): Promise<{ protocol?: unknown } & AgentReply> {
  const socket = connect(join(node.directory, 'cni.sock'));
  socket.write(`${line}\n`);
  return JSON.parse(await text(socket));
}

const request = (pod: string, command: AgentRequest['command'], more: object = {}) =>
  JSON.stringify({
    ...{ protocol: 1, command, containerID: 'old', ifname: 'eth0', netns: pod, args: {} },
    ...{ config: node.configuration(), ...more },
  });

describe('an agent with a plugin of another version', () => {
  test('Z06: of the same protocol: fields that it does not know change nothing', async () => {
    const { result } = await tell(request(pods[0]!, 'ADD', { later: { x: 1 } }));
    expect(result?.ips).toHaveLength(1);
    expect((await tell(request(pods[0]!, 'DEL', { later: 1 }))).error).toBeUndefined();
  });

  test.each([2, 0, '1', null])('Z06: of protocol %j: 11, and nothing is done', async protocol => {
    expect(await tell(request(pods[0]!, 'ADD', { protocol }))).toMatchObject({ protocol: 1, error: { code: 11 } });
    expect(await linkIn(node, node.nameOf(pods[0]!), 'eth0')).toBeUndefined();
    const { status } = await node.add(pods[0]!);
    expect(status).toBe(0);
    expect(await tell(request(pods[0]!, 'DEL', { protocol, containerID: 'c1' }))).toMatchObject({
      error: { code: 11 },
    });
    expect(await linkIn(node, node.nameOf(pods[0]!), 'eth0')).toBeDefined();
    await node.del(pods[0]!);
  });

  test.each(['{', '', '[]', '{"protocol":1}'])('Z06: that says %j: 11', async line => {
    expect(await tell(line)).toMatchObject({ error: { code: 11 } });
  });
});

/** An agent of another version: keeps what it is told to add, and speaks as `say` has it. */
async function otherAgent(name: string, say: (reply: AgentReply, request: AgentRequest) => string) {
  const runtimeDirectory = join(directory, name);
  await rm(runtimeDirectory, { recursive: true, force: true });
  await mkdir(runtimeDirectory);
  const attachments = new Set<string>();
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => socket.destroy());
    socket.once('data', line => {
      const asked = JSON.parse(line.toString()) as AgentRequest;
      if (asked.command === 'ADD') attachments.add(asked.containerID);
      if (asked.command === 'DEL') attachments.delete(asked.containerID);
      const result = { ips: [{ address: '10.88.0.9/24' }] };
      socket.end(say(asked.command === 'ADD' ? { result } : {}, asked));
    });
  });
  await once(server.listen(join(runtimeDirectory, 'cni.sock')), 'listening');
  return {
    attachments,
    call: (verb: string): Promise<Answer> =>
      node.call({ verb, pod: pods[0]!, config: { kproxyRuntimeDir: runtimeDirectory } }),
    deferred: () => readdir(join(runtimeDirectory, 'cni-deferred')).catch(() => []),
    [Symbol.asyncDispose]: async () => {
      await once(server.close(), 'close');
    },
  };
}

const said = (reply: object) => `${JSON.stringify(reply)}\n`;

describe('a plugin with an agent of another version', () => {
  test('Z06: of the same protocol: fields that it does not know change nothing', async () => {
    await using agent = await otherAgent('same', reply => said({ protocol: 1, ...reply, later: [1] }));
    expect((await agent.call('ADD')).result.ips).toMatchObject([{ address: '10.88.0.9/24' }]);
    expect([...agent.attachments]).toEqual(['c1']);
    expect(await agent.call('DEL')).toMatchObject({ status: 0, stdout: '' });
    expect([...agent.attachments]).toEqual([]);
  });

  test.each<[string, (reply: AgentReply) => string]>([
    ['that says no protocol', said],
    ['of protocol 2', reply => said({ protocol: 2, ...reply })],
    ['that refuses ours', () => said({ error: { code: 6, msg: 'of one version?' } })],
    ['that says nonsense', () => 'nonsense\n'],
    ['that says no result', () => said({ protocol: 1, result: { ips: 7 } })],
    [
      'whose answer is cut within a line',
      reply =>
        said({ protocol: 1, ...reply })
          .slice(0, -20)
          .concat('\n'),
    ],
  ])('Z06: %s: 11 for every verb, and the ADD is undone', async (what, say) => {
    await using agent = await otherAgent(`other-${what.length}`, say);
    for (const verb of ['ADD', 'STATUS', 'DEL']) {
      const { status, code, stdout } = await agent.call(verb);
      expect([verb, status, code]).toEqual([verb, 1, 11]);
      expect(JSON.parse(stdout)).toMatchObject({ cniVersion: '1.1.0', msg: expect.stringMatching(/./) });
      if (verb === 'ADD') expect([...agent.attachments]).toEqual([]);
    }
    expect(await agent.deferred()).toEqual([]);
  });

  test('Z06: whose answer is cut before the end of its line: none, so a DEL is kept', async () => {
    await using agent = await otherAgent('cut', reply => said({ protocol: 1, ...reply }).slice(0, -1));
    expect((await agent.call('ADD')).code).toBe(11);
    expect((await agent.call('STATUS')).code).toBe(50);
    expect(await agent.call('DEL')).toMatchObject({ status: 0, stdout: '' });
    expect(await agent.deferred()).toHaveLength(1);
  });
});

describe('the agent is elsewhere', () => {
  test('a directory whose name leaves no room for a socket is error 7, which names the field', async () => {
    for (const verb of ['ADD', 'STATUS', 'DEL']) {
      const answer = await node.call({ verb, pod: pods[0]!, config: { kproxyRuntimeDir: `/${'x'.repeat(98)}` } });
      expect(answer).toMatchObject({ status: 1, code: 7, message: expect.stringContaining('kproxyRuntimeDir') });
    }
  });
});

describe('who may not', () => {
  test('E16: root without CAP_NET_ADMIN is told so at once, whatever the verb, and nothing is begun', async () => {
    const program = join(directory, 'weak');
    await writeFile(program, `#!/bin/sh\nexec setpriv --bounding-set=-net_admin --inh-caps=-net_admin ${kproxyCni}\n`);
    await chmod(program, 0o755);
    for (const verb of ['ADD', 'STATUS', 'DEL']) {
      const answer = await node.call({ verb, pod: pods[0]!, program });
      expect(answer).toMatchObject({ status: 1, code: 103, message: expect.stringContaining('CAP_NET_ADMIN') });
      expect(answer.milliseconds).toBeLessThan(2000);
    }
  });
});
