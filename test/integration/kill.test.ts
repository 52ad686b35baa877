/** kill -9 in the middle of an apply, of the daemon or of its tool: the next sync makes it right, and nobody else notices. */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Variant } from '../../src/backends/iptables/tools.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import { markedEnv } from '../../src/lab/process.ts';
import type { PodState } from '../../src/lab/state.ts';
import { awaitUsed, createService, describeLab, eventually, type LogLine, labName, logLines } from './daemon-lab.ts';

const SERVICES = 400;
const ENDPOINTS = 15;
/** New connections a second. */
const RATE = 200;
const ROUNDS = { daemon: 2, tool: 1 } as const;

interface SyncLine extends LogLine {
  readonly time?: string;
  readonly changes?: number;
}

describeLab('kill -9 in the middle of an apply', () => {
  let lab: Lab;
  let pods: readonly PodState[];

  beforeAll(async () => {
    lab = await createLab({ name: labName('ki'), pods: 2 });
    pods = lab.pods;
    const numbers = Array.from({ length: SERVICES }, (_, i) => i);
    const create = async (i: number) => {
      const endpoints = Array.from({ length: ENDPOINTS }, (_, e) => ({
        addresses: [`10.244.${100 + (i >> 4)}.${(i & 15) * ENDPOINTS + e + 1}`],
        conditions: { ready: true },
      }));
      const clusterIP = `10.96.${100 + (i >> 8)}.${i & 255}`;
      await createService(lab, { name: `many-${i}`, clusterIP, ports: [{ name: 'http', port: 80 }] }, endpoints);
    };
    for (let i = 0; i < SERVICES; i += 20) await Promise.all(numbers.slice(i, i + 20).map(create));
    await awaitUsed(lab, { service: 'default/web', pods });
  }, 120_000);
  afterAll(async () => {
    await lab.close();
  });

  /** With `masqueradeAll` the chain of every Service is another. */
  const start = (node: string, variant: Variant, how: { masqueradeAll: boolean; awaitReady: boolean }) =>
    lab.startDaemon(node, {
      awaitReady: how.awaitReady,
      configuration: text => `${text}iptables:
  masqueradeAll: ${how.masqueradeAll}
---
apiVersion: kproxy-ts.dev/v1alpha1
kind: NodeConfiguration
iptables:
  variant: ${variant}
`,
    });

  const since = (node: string, line: number) => logLines(lab, node).slice(line) as readonly SyncLine[];
  const firstSync = (lines: readonly SyncLine[]) =>
    lines.find(({ family, msg }) => family === 'IPv4' && /are programmed|already had every rule/.test(msg));

  const began = (lines: readonly SyncLine[]) => lines.find(({ msg }) => /writes the rules/.test(msg));

  /** Each is a commit to the nf_tables of a node. */
  async function* commitsOn(node: string) {
    const script = fileURLToPath(new URL('commits-main.ts', import.meta.url));
    const command = ['netns', 'exec', lab.netns(node), process.execPath, script];
    const child = spawn('ip', command, { env: markedEnv(lab.name), stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      yield* createInterface(child.stdout);
    } finally {
      child.stdin.end();
    }
  }

  /** The processes that one has started and that run now. */
  const childrenOf = (pid: number) =>
    readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);

  test.for([
    [nodes[0].name, 'nft', 'daemon'],
    [nodes[0].name, 'nft', 'tool'],
    [nodes[1].name, 'legacy', 'daemon'],
    [nodes[1].name, 'legacy', 'tool'],
  ] as const)('on %s, iptables-%s, of the %s', { timeout: 240_000 }, async ([node, variant, victim]) => {
    let masqueradeAll = false;
    let from = 0;
    for (const all of [false, true]) {
      await lab.stopDaemon(node);
      from = logLines(lab, node).length;
      masqueradeAll = all;
      await start(node, variant, { masqueradeAll, awaitReady: true });
    }
    const whole = firstSync(since(node, from)) ?? expect.fail('no sync');
    const wholeMs = Date.parse(whole.time ?? '') - Date.parse(began(since(node, from))?.time ?? '');
    expect(wholeMs).toBeGreaterThan(0);
    const pod = pods.find(candidate => candidate.node === node)?.name ?? '';
    await using traffic = await lab.traffic(pod, {
      targets: [{ address: web.clusterIP, port: web.port }],
      connectionsPerSecond: RATE,
      held: 10,
    });
    const begun = performance.now();
    // A legacy table is one transaction; nft's batches are three, beside one of IPv6: of two commits one at least is of this family.
    const isBetween = (changes: number) => changes > 0 && changes < (whole.changes ?? 0);
    for (let round = 0; round < ROUNDS[victim]; round += 1) {
      await lab.stopDaemon(node);
      masqueradeAll = !masqueradeAll;
      from = logLines(lab, node).length;
      const commits = commitsOn(node);
      await commits.next();
      const { pid } = await start(node, variant, { masqueradeAll, awaitReady: false });
      while (began(since(node, from)) === undefined) await delay(2);
      const comesBetween = variant === 'nft' && victim === 'daemon' && round === 1;
      // Most of the time goes by while the rules are read: what is written is in the last part.
      if (comesBetween) for (let seen = 0; seen < 2; seen += 1) await commits.next();
      else await delay(wholeMs * (round === 0 ? 0.3 : 0.85));
      if (victim === 'tool') {
        for (const child of childrenOf(pid)) process.kill(child, 'SIGKILL');
        await eventually(() => expect(firstSync(since(node, from))).toBeDefined());
      } else {
        await lab.stopDaemon(node, 'SIGKILL');
        from = logLines(lab, node).length;
        await start(node, variant, { masqueradeAll, awaitReady: true });
        const left = firstSync(since(node, from))?.changes ?? Number.NaN;
        if (comesBetween) expect(left, `of ${whole.changes}`).toSatisfy(isBetween);
      }
      await commits.return();
      // A daemon that has never seen these rules finds nothing to do.
      from = logLines(lab, node).length;
      await lab.stopDaemon(node);
      await start(node, variant, { masqueradeAll, awaitReady: true });
      expect(firstSync(since(node, from))).toMatchObject({ msg: 'the kernel already had every rule', changes: 0 });
    }
    const wanted = ((performance.now() - begun) / 1000) * RATE;
    const report = await traffic.stop();
    expect(report.failures).toEqual([]);
    expect(report.held.failed).toBe(0);
    expect(report.opened).toBeGreaterThan(wanted / 4);
  });
});
