/** The DNS Service's address is served by each node's own daemon, and by the others when that one is away. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { clusterDns, nodes, webName } from '../../src/lab/layout.ts';
import { run } from '../../src/linux/exec.ts';
import { describeLab, labName } from './daemon-lab.ts';
import { askAllTheTime } from './dns-stream.ts';

const [nodeA, nodeB] = nodes;

describeLab('the DNS Service, served on the node', () => {
  let lab: Lab;
  /** Process id of the daemon that node A is handed over to. */
  let second: number;

  beforeAll(async () => {
    lab = await createLab({ name: labName('dnsvip'), mode: '', dns: true });
    for (const { name } of nodes) await vi.waitFor(() => servedOn(name), { timeout: 10_000 });
  });
  afterAll(async () => {
    await lab?.close();
  });

  /** Questions that a node's workers got so far. */
  async function asked(node: string): Promise<number> {
    const { stdout } = await lab.exec(node, ['curl', '-s', '127.0.0.1:10249/metrics']);
    const counts = stdout.matchAll(/^kproxy_dns_requests_total\{.*\} (\d+)$/gm);
    return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
  }

  /** One question from a member, with no second try. */
  async function dig(from: string, ...args: string[]): Promise<string> {
    const { stdout } = await lab.exec(from, ['dig', '+short', '+tries=1', '+time=2', ...args, webName]);
    return stdout.trim();
  }

  async function servedOn(node: string): Promise<void> {
    const before = await asked(node);
    expect(await dig(node, `@${clusterDns.clusterIP}`)).toBe('10.96.0.80');
    expect(await asked(node)).toBe(before + 1);
  }

  async function trackedQuestions(node: string): Promise<string[]> {
    const ofProtocol = async (protocol: string) =>
      (await lab.exec(node, ['conntrack', '-L', '-p', protocol, '--dport', '53'])).stdout;
    const all = await Promise.all(['udp', 'tcp'].map(ofProtocol));
    return all.flatMap(text => text.split('\n')).filter(line => line !== '');
  }

  test('pods and the node itself are answered on their node, over both families, by UDP and TCP, without a conntrack entry', async () => {
    const before = { a: await asked(nodeA.name), b: await asked(nodeB.name) };
    await lab.exec(nodeA.name, ['conntrack', '-F']);
    let questions = 0;
    for (const from of ['web-1', nodeA.name]) {
      for (const server of [clusterDns.clusterIP, clusterDns.clusterIP6]) {
        for (const transport of ['+notcp', '+tcp']) {
          expect(await dig(from, `@${server}`, transport)).toBe('10.96.0.80');
          questions += 1;
        }
      }
    }
    expect(await asked(nodeA.name)).toBe(before.a + questions);
    expect(await asked(nodeB.name)).toBe(before.b);
    expect(await trackedQuestions(nodeA.name)).toEqual([]);
  });

  test('after kill -9 the next question is answered by another node; the daemon comes back, and answers', async () => {
    await lab.stopDaemon(nodeA.name, 'SIGKILL');
    for (const from of ['web-1', nodeA.name]) expect(await dig(from, `@${clusterDns.clusterIP}`)).toBe('10.96.0.80');
    expect(await dig('web-1', `@${clusterDns.clusterIP6}`, '+tcp')).toBe('10.96.0.80');
    await lab.startDaemon(nodeA.name);
    await vi.waitFor(() => servedOn(nodeA.name), { timeout: 10_000 });
  });

  test('a daemon that hangs is passed by within a second', async () => {
    const pid = await daemonPid(nodeA.name);
    process.kill(pid, 'SIGSTOP');
    try {
      await delay(1100); // what its last sign of life said holds for a second
      for (const from of ['web-1', nodeA.name]) expect(await dig(from, `@${clusterDns.clusterIP}`)).toBe('10.96.0.80');
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await vi.waitFor(() => servedOn(nodeA.name), { timeout: 10_000 });
  });

  test('a hand-over to another process loses no question', async () => {
    const asking = askAllTheTime(lab, 'web-1');
    second = (await lab.startDaemon(nodeA.name, { as: 'second', awaitReady: false })).pid;
    const serves = `"address":"${clusterDns.clusterIP}","port":53`;
    await vi.waitFor(async () => expect(await logOf('second')).toContain(serves), { timeout: 20_000 });
    const standsBy = 'another process answers names in the place of this one';
    await vi.waitFor(async () => expect(await logOf(nodeA.name)).toContain(standsBy), { timeout: 20_000 });
    await delay(300);
    const { sent, lost, wrong } = await asking.end();
    expect(sent).toBeGreaterThan(500);
    expect({ lost, wrong }).toEqual({ lost: [], wrong: [] });
  });

  test('when that one hangs, the stand-by beside it leads no question there', async () => {
    process.kill(second, 'SIGSTOP');
    try {
      await delay(1100); // as above
      const asking = askAllTheTime(lab, 'web-1');
      await delay(1500);
      const { sent, lost, wrong } = await asking.end();
      expect(sent).toBeGreaterThan(500);
      expect({ lost, wrong }).toEqual({ lost: [], wrong: [] });
    } finally {
      process.kill(second, 'SIGCONT');
    }
  });

  test('when it is killed, the stand-by answers again', async () => {
    process.kill(second, 'SIGKILL');
    await vi.waitFor(() => servedOn(nodeA.name), { timeout: 10_000 });
    expect(await dig('web-1', `@${clusterDns.clusterIP6}`, '+tcp')).toBe('10.96.0.80');
  });

  async function daemonPid(node: string): Promise<number> {
    const { stdout } = await run('pgrep', ['-f', `kproxy-ts.mjs run --config ${lab.configurationFile(node)}`]);
    return Number(stdout.trim());
  }

  async function logOf(name: string): Promise<string> {
    return (await run('cat', [`${lab.directory}/${name}.log`])).stdout;
  }
});
