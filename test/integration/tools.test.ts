/** A node whose iptables programs are missing, from the start or from some time on; and cleanup of all that are there. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { diff } from '../../src/backends/diff.ts';
import { removeEverywhere } from '../../src/backends/iptables/removal.ts';
import { FAMILIES, toolsOf, VARIANTS } from '../../src/backends/iptables/tools.ts';
import { projectDir } from '../../src/lab/install.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { type RunOptions, run } from '../../src/linux/exec.ts';
import { eventually } from './daemon-lab.ts';
import { backendOf, clusterOf, differences, planOf } from './kernel-loop.ts';
import { describeUnless } from './requires.ts';

const NETNS = `kpx-tools-${process.pid}`;
const inNetns = (file: string, args: readonly string[] = [], options: RunOptions = {}) =>
  run(file, args, { ...options, netns: NETNS });
const all = VARIANTS.flatMap(variant => FAMILIES.map(family => toolsOf(variant, family)));

describeUnless(await obstacle(), 'a node with iptables programs or without', () => {
  let directory = '';
  const daemons: ChildProcess[] = [];

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kpx-tools-'));
    await mkdir(join(directory, 'manifests'));
    await writeFile(
      join(directory, 'config.yaml'),
      JSON.stringify({
        apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
        kind: 'KubeProxyConfiguration',
        hostnameOverride: 'n',
        mode: 'iptables',
        iptables: { syncPeriod: '1s' },
      }),
    );
  });
  beforeEach(async () => {
    await mkdir(join(directory, 'bin'));
    await symlink('/usr/bin/flock', join(directory, 'bin/flock'));
    await run('ip', ['netns', 'add', NETNS]);
    await inNetns('ip', ['link', 'set', 'lo', 'up']);
  });
  afterEach(async () => {
    for (const daemon of daemons.splice(0)) {
      if (daemon.exitCode !== null) continue;
      daemon.kill('SIGKILL');
      await once(daemon, 'exit');
    }
    await run('ip', ['netns', 'del', NETNS]);
    await rm(join(directory, 'bin'), { recursive: true });
  });
  afterAll(async () => {
    await rm(directory, { recursive: true });
  });

  /** A daemon that finds only the programs of `directory/bin`. */
  function startDaemon() {
    const command = [process.execPath, '--expose-gc', join(projectDir, 'dist/kproxy-ts.mjs'), 'run'];
    const options = ['--config', join(directory, 'config.yaml'), '--source', `dir:${join(directory, 'manifests')}`];
    const args = ['netns', 'exec', NETNS, 'env', `PATH=${join(directory, 'bin')}`, ...command, ...options];
    const daemon = spawn('ip', [...args, '--runtime-dir', join(directory, 'run')], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    daemons.push(daemon);
    let out = '';
    daemon.stdout.on('data', chunk => {
      out += String(chunk);
    });
    const lines = () =>
      out
        .split('\n')
        .slice(0, -1)
        .map(line => JSON.parse(line) as { level: string; msg: string; family?: string });
    return { daemon, lines, said: text(daemon.stderr) };
  }

  const link = async (...families: readonly (typeof FAMILIES)[number][]) => {
    for (const family of families)
      for (const file of [toolsOf('nft', family).save, toolsOf('nft', family).restore])
        await symlink(`/usr/sbin/${file}`, join(directory, 'bin', file));
  };

  it('without any, the daemon ends with status 1, says what to install, and has changed nothing', async () => {
    const { daemon, said } = startDaemon();
    const [status] = await once(daemon, 'exit');
    expect(status).toBe(1);
    expect(await said).toMatch(
      /iptables cannot be used on this node; its rules are untouched\nIPv4: iptables-nft-save.*: no such program \(Debian package iptables\)\nIPv6: ip6tables-nft-save/,
    );
    expect((await inNetns('nft', ['list', 'ruleset'])).stdout).toBe('');
  });

  it('with those of one family, it does that one and says why the other is left out', async () => {
    await link('IPv4');
    const { lines } = startDaemon();
    await eventually(() => expect(lines().map(({ msg }) => msg)).toContain('all rules are programmed'));
    const out = lines()
      .filter(({ level }) => level === 'warn')
      .map(({ msg }) => msg);
    expect(out).toContainEqual(
      expect.stringMatching(/^IPv6 is left out: ip6tables-nft-save.*\(Debian package iptables\)$/),
    );
    expect(
      await differences({ tools: toolsOf('nft', 'IPv4'), run: inNetns }, clusterOf('IPv4', { services: 0 })),
    ).not.toContain('nat/KUBE-SERVICES');
  });

  it('when they vanish, the daemon says so once, goes on trying, and repairs what happened meanwhile', async () => {
    await link('IPv4');
    const { lines } = startDaemon();
    await eventually(() => expect(lines().map(({ msg }) => msg)).toContain('all rules are programmed'));
    const { save, restore } = toolsOf('nft', 'IPv4');
    for (const file of [save, restore]) await unlink(join(directory, 'bin', file));
    await inNetns('iptables-nft', ['-t', 'nat', '-F', 'KUBE-POSTROUTING']);
    const failures = () => lines().filter(({ msg }) => msg.startsWith('rules could not be programmed'));
    await eventually(() => expect(failures()).toHaveLength(1));
    expect(failures()[0]?.msg).toMatch(/iptables-nft-save.*: no such program \(Debian package iptables\)$/);
    const flushed = await inNetns('iptables-nft', ['-t', 'nat', '-S', 'KUBE-POSTROUTING']);
    expect(flushed.stdout).toBe('-N KUBE-POSTROUTING\n');
    await link('IPv4');
    await eventually(async () => {
      const { stdout } = await inNetns('iptables-nft', ['-t', 'nat', '-S', 'KUBE-POSTROUTING']);
      expect(stdout).toContain('MASQUERADE');
    });
    expect(failures()).toHaveLength(1);
  });

  it('cleanup takes ours out of both variants and both families', async () => {
    for (const tools of all) {
      const io = { tools, run: inNetns };
      const backend = backendOf(io);
      const before = await backend.read();
      await backend.apply(diff(before, planOf(io, clusterOf(tools.family, { services: 5 }))), before);
    }
    const foreign = '*nat\n:OTHERS - [0:0]\n:KUBE-KUBELET-CANARY - [0:0]\n-A PREROUTING -j OTHERS\nCOMMIT\n';
    for (const { restore } of all) await inNetns(restore, ['--noflush'], { input: foreign });
    expect(await removeEverywhere({ run: inNetns })).toBeGreaterThan(4 * 20);
    for (const { save } of all) {
      const { stdout } = await inNetns(save, []);
      expect(stdout.match(/^(?:-A.*|:(?:KUBE|OTHERS)\S*)/gm)).toEqual([
        ':KUBE-KUBELET-CANARY',
        ':OTHERS',
        '-A PREROUTING -j OTHERS',
      ]);
    }
    expect(await removeEverywhere({ run: inNetns })).toBe(0);
  });
});
