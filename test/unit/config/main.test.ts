import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';

const main = join(import.meta.dirname, '../../../src/main.ts');
const directory = mkdtempSync(join(tmpdir(), 'kproxy-main-'));
const HEADER = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.0.0.0/8\n';

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

  test('no file', () => {
    expect(kproxy('config', 'check', '/nonexistent')).toMatchObject({
      status: 1,
      stderr: '/nonexistent: cannot be read: no such file\n',
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
    [['run', '--v', 'two'], 'must be a whole number.'],
    [['run', '--log-level', 'loud'], 'Allowed choices are trace, debug, info, warn, error, fatal.'],
    [
      ['run', '--v', '4', '--log-level', 'info'],
      "option '--log-level <level>' cannot be used with option '--v <number>'",
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
