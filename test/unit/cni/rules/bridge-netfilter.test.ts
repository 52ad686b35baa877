import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bridgeNetfilterProblems, enableBridgeNetfilter } from '../../../../src/cni/rules/bridge-netfilter.ts';

describe('bridge-nf-call', () => {
  let directory: string;
  const families = ['IPv4', 'IPv6'] as const;
  const calls: string[] = [];
  const run = async (file: string, args: readonly string[] = []) => {
    calls.push([file, ...args].join(' '));
    return { stdout: '', stderr: '' };
  };
  const write = (value: string) => {
    for (const name of ['iptables', 'ip6tables'])
      writeFileSync(join(directory, `bridge-nf-call-${name}`), `${value}\n`);
  };
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'kproxy-bridge-'));
    calls.length = 0;
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  test('is set where it is 0, and no module is loaded for it', async () => {
    write('0');
    expect(bridgeNetfilterProblems({ families, directory })).toHaveLength(2);
    expect(await enableBridgeNetfilter({ families, directory, run })).toEqual([]);
    expect(readFileSync(join(directory, 'bridge-nf-call-ip6tables'), 'utf8')).toBe('1');
    expect(calls).toEqual([]);
  });

  test('the module is loaded where the settings are missing; who still lacks them is told', async () => {
    const load = async (file: string, args: readonly string[] = []) => {
      write('0');
      return run(file, args);
    };
    expect(await enableBridgeNetfilter({ families, directory, run })).toEqual([
      "net.bridge.bridge-nf-call-iptables is missing (no kernel module br_netfilter): pods don't reach pods of their own bridge by Services",
      "net.bridge.bridge-nf-call-ip6tables is missing (no kernel module br_netfilter): pods don't reach pods of their own bridge by Services",
    ]);
    expect(await enableBridgeNetfilter({ families, directory, run: load })).toEqual([]);
    expect(calls).toEqual(['modprobe br_netfilter', 'modprobe br_netfilter']);
  });
});
