import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';

const main = join(import.meta.dirname, '../../../src/main.ts');
const directory = mkdtempSync(join(tmpdir(), 'kproxy-main-'));
const HEADER = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.0.0.0/8\n';

// Each of these starts Node, which takes long on a busy machine.
vi.setConfig({ testTimeout: 30_000 });

afterAll(() => {
  rmSync(directory, { recursive: true });
});

function kproxy(...argv: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', main, ...argv], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

describe('kproxy-ts config check', () => {
  test('a valid file', () => {
    const path = file('valid.yaml', HEADER);
    expect(kproxy('config', 'check', path)).toEqual({ status: 0, stdout: `${path}: valid\n`, stderr: '' });
  });

  test('a valid file with fields that have no effect', () => {
    const path = file('unused.yaml', `${HEADER}portRange: 1-2\nfoo: 1\n`);
    expect(kproxy('config', 'check', path)).toMatchObject({
      status: 0,
      stderr: `${path}: warning: unknown field foo, ignored\n${path}: warning: portRange is set but not used by this version: kube-proxy doesn't use it either\n`,
    });
  });

  test('a wrong file: a line for each problem, no stack', () => {
    const path = file('wrong.yaml', `${HEADER}iptables: { masqueradeBit: 40 }\n`);
    expect(kproxy('config', 'check', path)).toEqual({
      status: 1,
      stdout: '',
      stderr: `${path}: iptables.masqueradeBit: must be between 0 and 31, is 40\n`,
    });
  });

  test('from the standard input, shown whole: a file that is valid itself', () => {
    const shown = spawnSync(process.execPath, ['--no-warnings', main, 'config', 'check', '-', '-o', 'yaml'], {
      input: `\uFEFF${HEADER}iptables: { syncPeriod: 90s }\n`,
      encoding: 'utf8',
    });
    expect(shown).toMatchObject({ status: 0, stderr: '' });
    expect(shown.stdout).toContain('\n  syncPeriod: 1m30s\n');
    const path = file('shown.yaml', shown.stdout);
    expect(kproxy('config', 'check', path)).toMatchObject({ status: 0, stderr: '' });
  });

  test('no file', () => {
    expect(kproxy('config', 'check', '/nonexistent')).toMatchObject({
      status: 1,
      stderr: '/nonexistent: cannot be read: no such file\n',
    });
  });
});

describe('kproxy-ts run', () => {
  test('--write-config-to writes what the flags say, ends, and says what has no effect', () => {
    const path = join(directory, 'written.yaml');
    const written = kproxy('run', '--write-config-to', path, '--cluster-cidr=10.0.0.0/8', '--ipvs-strict-arp');
    expect(written).toEqual({
      status: 0,
      stdout: `${path}: written\n`,
      stderr: 'warning: --ipvs-strict-arp is set but not used by this version: it comes with the IPVS mode\n',
    });
    expect(readFileSync(path, 'utf8')).toMatch(
      /^apiVersion: kubeproxy.config.k8s.io\/v1alpha1\nkind: KubeProxyConfiguration\n/,
    );
    expect(kproxy('config', 'check', path).status).toBe(0);
  });

  test('a wrong flag: its name, and what it must be', () => {
    expect(kproxy('run', '--iptables-masquerade-bit=40', '--v=two')).toEqual({
      status: 1,
      stdout: '',
      stderr:
        'command line: --v: must be a whole number, is "two"\ncommand line: --iptables-masquerade-bit: must be between 0 and 31, is 40\n',
    });
  });

  test('--init-only makes settings, and ends', () => {
    // Nothing that would change this machine.
    const nothing = ['--conntrack-max-per-core=0', '--conntrack-tcp-timeout-established=0s'];
    const quiet = [...nothing, '--conntrack-tcp-timeout-close-wait=0s', '--iptables-localhost-nodeports=false'];
    const { status, stdout } = kproxy('run', '--init-only', '--proxy-mode=iptables', ...quiet);
    expect(status).toBe(0);
    expect(JSON.parse(stdout.trim().split('\n').at(-1) ?? '')).toMatchObject({
      level: 'info',
      msg: 'the privileged set-up is done',
    });
  });
});

describe('kproxy-ts', () => {
  test('version', () => {
    expect(kproxy('version').stdout).toMatch(/^kproxy-ts \d+\.\d+\.\d+, Node v24\./);
  });

  test('help names every command', () => {
    const { status, stdout } = kproxy('--help');
    expect(status).toBe(0);
    for (const name of ['run', 'dump', 'cleanup', 'lab', 'config', 'version']) expect(stdout).toContain(`\n  ${name}`);
  });

  test.each([
    [['nonsense'], "unknown command 'nonsense'"],
    [['run', '--nonsense'], "unknown option '--nonsense'"],
    [['run', '--source', 'http://x'], 'must be dir:PATH.'],
    [['run', '--cleanup=maybe'], 'must be true or false.'],
    [['run', '--log-level', 'loud'], 'Allowed choices are trace, debug, info, warn, error, fatal.'],
    [
      ['run', '--v', '4', '--log-level', 'info'],
      "option '--log-level <level>' cannot be used with option '-v, --v <number>'",
    ],
    [['dump', '-o', 'xml'], 'Allowed choices are table, json.'],
    [['config', 'check'], "missing required argument 'file'"],
  ])('%j is wrong usage', (argv, message) => {
    const { status, stderr } = kproxy(...argv);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain('    at ');
  });
});
