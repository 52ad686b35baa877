import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isDumpState } from '../../src/dump/state.ts';
import { projectDir } from '../../src/lab/install.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import type { ExecError } from '../../src/linux/exec.ts';
import { answers, ask, awaitUsed, describeLab, enoughFor, labName, masqueradedAt, rulesOf } from './daemon-lab.ts';
import { NodeServer } from './dns-node-processes.ts';

const node = nodes[0];

describeLab('commands beside a daemon', () => {
  let lab: Lab;
  let before = '';

  beforeAll(async () => {
    lab = await createLab({ name: labName('cmd'), pods: 2, daemons: false });
    const foreign = [
      '*nat',
      ':OTHER - [0:0]',
      ':KUBE-KUBELET-CANARY - [0:0]',
      '-A PREROUTING -d 203.0.113.1/32 -j OTHER',
      '-A OTHER -p tcp -j DNAT --to-destination 203.0.113.2',
      'COMMIT',
      '*filter',
      '-A FORWARD -s 203.0.113.3/32 -j DROP',
      'COMMIT',
    ];
    await lab.exec(node.name, ['iptables-nft-restore', '--noflush'], { input: `${foreign.join('\n')}\n` });
    before = await ruleLines();
    await lab.startDaemon(node.name);
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods, on: [node.name] });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** Chains and rules, sorted, without counters and dates. */
  async function ruleLines(): Promise<string> {
    const lines = (await rulesOf(lab, node.name)).split('\n').filter(line => /^[-:*]/.test(line));
    return lines
      .map(line => line.replace(/ \[\d+:\d+\]$/, ''))
      .toSorted()
      .join('\n');
  }

  async function dump() {
    const { stdout, stderr } = await lab.exec(node.name, ['kproxy-ts', 'dump', '-o', 'json']);
    const state: unknown = JSON.parse(stdout);
    if (!isDumpState(state)) throw new Error('no dump');
    const services = state.families.find(({ family }) => family === 'IPv4')?.services ?? [];
    return { stderr, source: state.source, services };
  }

  test('dump lists the Services with their addresses and endpoints', async () => {
    const { source, services } = await dump();
    expect(source).toBe('daemon');
    const names = services.map(({ namespace, name, port, state }) => `${namespace}/${name}:${port} ${state}`);
    expect(names).toEqual(['default/kubernetes:https ok', 'default/web:http ok', 'default/web:udp ok']);
    expect(services.find(({ port }) => port === 'udp')).toMatchObject({
      protocol: 'UDP',
      addresses: [
        { kind: 'clusterIP', ip: web.clusterIP, port: web.port },
        { kind: 'nodePort', port: web.nodePort },
      ],
      endpoints: lab.pods.map(({ ip, node: name }) => ({
        ip,
        port: 8080,
        ready: true,
        local: name === node.name,
        used: true,
      })),
    });
  });

  test('cleanup refuses while the daemon runs, and says which process it is', async () => {
    await expect(lab.exec(node.name, ['kproxy-ts', 'cleanup'])).rejects.toMatchObject({
      exitCode: 1,
      stderr: expect.stringMatching(
        /^kproxy-ts \S+ since \S+ \(process \d+\) runs here \(it holds .*\/lock\): stop it first/,
      ),
    });
    expect((await dump()).services.map(({ state }) => state)).toEqual(['ok', 'ok', 'ok']);
  });

  test('cleanup takes all of ours away, once the daemon has gone, and nothing else', async () => {
    await lab.stopDaemon(node.name);
    const left = await dump();
    expect(left).toMatchObject({ source: 'kernel', stderr: expect.stringContaining('no daemon at') });
    expect(left.services).toHaveLength(3);
    const count = enoughFor(2);
    const found = await ask(lab, node.name, { address: web.clusterIP, port: web.port, count });
    expect(found).toEqual(answers(lab.pods, masqueradedAt(node)));

    await using server = await NodeServer.start({ lab, node: node.name, name: 'local', port: 53, ips: ['10.96.0.10'] });
    await server.kill();
    expect((await lab.exec(node.name, ['kproxy-ts', 'cleanup'])).stdout).toMatch(
      /^10\.96\.0\.10: no longer on this node\n[1-9]\d* chains and rules of kproxy-ts removed\n$/,
    );
    expect(await ruleLines()).toBe(before);
    expect((await lab.exec(node.name, ['nft', 'list', 'tables'])).stdout).not.toContain('kproxy-ts');
    expect(await ask(lab, node.name, { address: web.clusterIP, port: web.port, timeoutMs: 300 })).toEqual(['timeout']);
    expect((await lab.exec(node.name, ['kproxy-ts', 'cleanup'])).stdout).toBe(
      '0 chains and rules of kproxy-ts removed\n',
    );
  });

  test.for([
    [
      'a runtime directory on a read-only file system',
      'mount -t tmpfs -o ro none /mnt && RUN --runtime-dir /mnt/kproxy-ts',
      "kproxy-ts: can't use the runtime directory /mnt/kproxy-ts: the file system is read-only (--runtime-dir names another)",
    ],
    [
      'a runtime directory that cannot be made',
      'RUN --runtime-dir /proc/kproxy-ts',
      /^kproxy-ts: can't use the runtime directory \/proc\/kproxy-ts: .*ENOENT.*\(--runtime-dir names another\)$/,
    ],
    [
      'a node without flock',
      'cp -sn /usr/bin/[!X]* /usr/sbin/* /mnt && rm /mnt/flock && PATH=/mnt RUN',
      'kproxy-ts: flock, which keeps a second daemon from writing: no such program (Debian package util-linux)',
    ],
    [
      'a node without iptables',
      'mount -t tmpfs none /usr/sbin && RUN',
      /^kproxy-ts: iptables cannot be used on this node; its rules are untouched\nIPv4: .*no such program \(Debian package iptables\)/,
    ],
  ] as const)('%s: one clear message, and the rules are as they were', async ([_, script, said]) => {
    const rules = await ruleLines();
    const { KPROXY_TS_RUNTIME_DIR: runtimeDir = '' } = lab.env(node.name);
    const program = join(projectDir, 'bin/kproxy-ts');
    const config = lab.configurationFile(node.name);
    // In a mount namespace of its own, where /mnt is what the test needs.
    const run = `exec ${program} run --config ${config}`;
    const prepared = script.startsWith('cp') ? `mount -t tmpfs none /mnt && ${script}` : script;
    const command = prepared.replace(
      /(PATH=\S+ )?RUN/,
      (_match, path = '') => `${path === '' ? '' : `export ${path}&& `}${run}`,
    );
    const outcome = lab.exec(node.name, ['unshare', '--mount', 'sh', '-c', command], {
      env: { KPROXY_TS_RUNTIME_DIR: runtimeDir },
      timeoutMs: 20_000,
    });
    const { exitCode, stderr } = await outcome.then(
      () => ({ exitCode: 0, stderr: '' }),
      (error: ExecError) => error,
    );
    expect(exitCode).toBe(1);
    if (typeof said === 'string') expect(stderr.trim()).toBe(said);
    else expect(stderr.trim()).toMatch(said);
    expect(await ruleLines()).toBe(rules);
  });

  test('a daemon programs everything again after a cleanup', async () => {
    await lab.startDaemon(node.name);
    const found = await ask(lab, node.name, { address: web.clusterIP, port: web.port, count: enoughFor(2) });
    expect(found).toEqual(answers(lab.pods, masqueradedAt(node)));
    expect((await dump()).services.map(({ state }) => state)).toEqual(['ok', 'ok', 'ok']);
  });
});
