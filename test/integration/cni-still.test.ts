/** Somebody stands still who should answer or let go: an ADD ends in time, a DEL isn't lost. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AGENT_SOCKET } from '../../src/cni/types.ts';
import { nodeProgram } from '../../src/lab/install.ts';
import { CniNode, IPV4, linkIn } from './cni-node.ts';

/** What F10 allows, and the start of a process on a busy machine. */
const LIMIT_MS = { STATUS: 2500, ADD: 11_000, DEL: 5000 };

describe('an agent that is kept from answering', () => {
  let node: CniNode;
  let pods: string[];
  let stopped: ChildProcess[];
  beforeEach(async () => {
    node = await CniNode.start('still', IPV4);
    pods = await Promise.all(['one', 'two'].map(name => node.pod(name)));
    stopped = [];
  });
  afterEach(async () => {
    for (const child of stopped) await end(child);
    await node[Symbol.asyncDispose]();
  });

  async function end(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  /** A process that stands still once it has said that it has what it should have. */
  async function standing(command: readonly [string, ...string[]]): Promise<ChildProcess> {
    const [program, ...args] = command;
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    stopped.push(child);
    expect(String((await once(child.stdout, 'data'))[0])).toBe('has it\n');
    child.kill('SIGSTOP');
    return child;
  }

  /** Asks for everything at once: `old` is a pod of before. */
  const ask = () =>
    Promise.all([
      node.call({ verb: 'STATUS' }),
      node.add(pods[1]!, { id: 'young' }),
      node.del(pods[0]!, { id: 'old' }),
    ]);

  async function isToldInTime(): Promise<void> {
    const [status, add, del] = await ask();
    expect([status.code, add.code, del.status, del.stdout]).toEqual([50, 11, 0, '']);
    expect(status.milliseconds).toBeLessThan(LIMIT_MS.STATUS);
    expect(add.milliseconds).toBeLessThan(LIMIT_MS.ADD);
    expect(del.milliseconds).toBeLessThan(LIMIT_MS.DEL);
    expect(await linkIn(node, node.nameOf(pods[1]!), 'eth0')).toBeUndefined();
  }

  /** The DEL is done, nothing of the ADD is there, and the next one works. */
  async function worksAgain(): Promise<void> {
    await expect.poll(() => node.residue(), { timeout: 30_000 }).toEqual([]);
    expect(await node.call({ verb: 'STATUS' })).toMatchObject({ status: 0, stdout: '' });
    expect((await node.add(pods[1]!, { id: 'young' })).status).toBe(0);
    await node.del(pods[1]!, { id: 'young' });
    expect(await node.residue()).toEqual([]);
  }

  test('F10: the socket of an agent that was killed', async () => {
    expect((await node.add(pods[0]!, { id: 'old' })).status).toBe(0);
    await node.stopAgent('SIGKILL');
    await isToldInTime();
    await node.startAgent();
    await worksAgain();
  });

  test.each([511, 0])('F10: a socket that nobody accepts from, with room for %i', async room => {
    expect((await node.add(pods[0]!, { id: 'old' })).status).toBe(0);
    await node.stopAgent();
    const path = join(node.directory, AGENT_SOCKET);
    const listening = `const path = ${JSON.stringify(path)};
      require('node:net').createServer().listen({ path, backlog: ${room} }, () => console.log('has it'));`;
    const nobody = await standing([nodeProgram, '-e', listening]);
    await isToldInTime();
    await end(nobody);
    await node.startAgent();
    await worksAgain();
  });

  test('F10: a stopped process has the database: the agent serves as soon as it lets go', async () => {
    expect((await node.add(pods[0]!, { id: 'old' })).status).toBe(0);
    await node.stopAgent('SIGKILL');
    const database = JSON.stringify(join(node.directory, 'state/cni.db'));
    const locking = `const database = new (require('node:sqlite').DatabaseSync)(${database});
      database.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE');
      console.log('has it');
      setInterval(() => database, 1e6);`;
    const holder = await standing([nodeProgram, '-e', locking]);
    const starting = node.startAgent();
    await isToldInTime();
    await end(holder);
    await starting;
    await worksAgain();
  });

  test("F10: a stopped process has iptables' lock when a bridge gets its first pod", async () => {
    const lock = join(node.directory, 'xtables.lock');
    await node.stopAgent();
    node.prepare = `export XTABLES_LOCKFILE=${lock}`;
    await node.startAgent();
    await node.exec(['env', `XTABLES_LOCKFILE=${lock}`, 'iptables-legacy', '-P', 'FORWARD', 'DROP']);
    const holder = await standing(['flock', '--no-fork', lock, 'sh', '-c', 'echo has it; exec sleep 1000']);
    const [, add, del] = await ask();
    expect([0, 11]).toContain(add.code);
    expect(add.milliseconds).toBeLessThan(LIMIT_MS.ADD);
    expect([del.status, del.stdout]).toEqual([0, '']);
    expect((await node.del(pods[1]!, { id: 'young' })).status).toBe(0);
    await end(holder);
    await worksAgain();
    const rules = async () => (await node.exec(['iptables-legacy', '-S'])).stdout;
    await expect.poll(rules, { timeout: 30_000 }).toContain('KPROXY-CNI-FORWARD');
  });
});
