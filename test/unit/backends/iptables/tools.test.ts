import { describe, expect, it } from 'vitest';
import { detectVariant, isLockHeld, toolsOf, usableFamilies } from '../../../../src/backends/iptables/tools.ts';
import { NoUsableFamilyError } from '../../../../src/backends/mode.ts';
import { ExecError, type Output, type RunOptions } from '../../../../src/linux/exec.ts';

interface Node {
  /** What each program prints as rules; without an entry the program is missing. */
  readonly tables: Readonly<Record<string, string>>;
  /** Programs that fail, with what they say. */
  readonly broken?: Readonly<Record<string, readonly [status: number, stderr: string]>>;
}

/** A node's iptables programs: `-save` prints the tables it has, `-restore` takes anything. */
function nodeWith({ tables, broken = {} }: Node) {
  const calls: string[] = [];
  const run = async (file: string, args: readonly string[] = [], _options: RunOptions = {}): Promise<Output> => {
    calls.push([file, ...args].join(' '));
    const failure = (exitCode: number, stderr: string, isNotFound: boolean) =>
      new ExecError(file, { exitCode, stdout: '', stderr, isNotFound, isTimeout: false, cause: undefined });
    const fault = broken[file];
    if (fault !== undefined && !args.includes('--version')) throw failure(...fault, false);
    const program = file.replace(/-(?:save|restore)$/, '');
    const rules = tables[program];
    if (rules === undefined) throw failure(-1, '', true);
    if (args.includes('--version') || file.endsWith('-restore')) return { stdout: '', stderr: '' };
    const wanted = args[0] === '-t' ? args[1] : undefined;
    const isWanted = (section: string) => wanted === undefined || section.startsWith(`*${wanted}\n`);
    return {
      stdout: rules
        .split(/^(?=\*)/m)
        .filter(isWanted)
        .join(''),
      stderr: '',
    };
  };
  return { run, calls };
}

const nothing = { 'iptables-nft': '', 'ip6tables-nft': '', 'iptables-legacy': '', 'ip6tables-legacy': '' };
const hint = '*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n';
const canary = '*mangle\n:KUBE-KUBELET-CANARY - [0:0]\nCOMMIT\n';
const rules = (count: number) => `*nat\n:OUTPUT ACCEPT [0:0]\n${'-A OUTPUT -j ACCEPT\n'.repeat(count)}COMMIT\n`;

describe('detectVariant', () => {
  it.each([
    ['an empty node', nothing, 'nft'],
    ["the kubelet's hint in legacy", { ...nothing, 'iptables-legacy': hint, 'iptables-nft': rules(9) }, 'legacy'],
    ["an older kubelet's canary in legacy, of IPv6 only", { ...nothing, 'ip6tables-legacy': canary }, 'legacy'],
    ["the kubelet's hint in nft", { ...nothing, 'ip6tables-nft': hint, 'iptables-legacy': rules(9) }, 'nft'],
    ["the kubelet's hint in both", { ...nothing, 'iptables-nft': hint, 'iptables-legacy': hint }, 'nft'],
    ['more rules in legacy', { ...nothing, 'iptables-legacy': rules(3), 'ip6tables-nft': rules(2) }, 'legacy'],
    ['as many rules in both', { ...nothing, 'iptables-legacy': rules(2), 'iptables-nft': rules(2) }, 'nft'],
    ['no programs for nft', { 'iptables-legacy': rules(1) }, 'legacy'],
    ['no programs at all', {}, 'nft'],
  ])('on %s: %#', async (_, tables, variant) => {
    expect(await detectVariant({ run: nodeWith({ tables }).run })).toMatchObject({ variant });
  });

  it('says what decided', async () => {
    const detect = async (tables: Node['tables']) => (await detectVariant({ run: nodeWith({ tables }).run })).why;
    expect(await detect({ ...nothing, 'iptables-nft': hint })).toBe("the kubelet's chains are there");
    expect(await detect({ ...nothing, 'iptables-legacy': rules(3), 'ip6tables-legacy': rules(1) })).toBe(
      "0 rules in nft, 4 in legacy, none of the kubelet's chains in either",
    );
  });

  it('never names a table to the legacy programs, which would make the kernel load it', async () => {
    const { run, calls } = nodeWith({ tables: nothing });
    await detectVariant({ run });
    expect(calls.filter(call => call.includes('legacy'))).toEqual(['iptables-legacy-save', 'ip6tables-legacy-save']);
  });
});

describe('usableFamilies', () => {
  const hasIPv6 = async () => true;

  it('finds both', async () => {
    const { run } = nodeWith({ tables: nothing });
    expect(await usableFamilies({ variant: 'nft', run, hasIPv6 })).toEqual({ families: ['IPv4', 'IPv6'], missing: [] });
  });

  it('leaves out IPv6 where the kernel has none', async () => {
    const { run, calls } = nodeWith({ tables: nothing });
    expect(await usableFamilies({ variant: 'legacy', run, hasIPv6: async () => false })).toEqual({
      families: ['IPv4'],
      missing: [{ family: 'IPv6', reason: 'the kernel has no IPv6' }],
    });
    expect(calls.filter(call => call.startsWith('ip6'))).toEqual([]);
  });

  it('names a missing program and its package', async () => {
    const { run } = nodeWith({ tables: { 'ip6tables-nft': '' } });
    const { families, missing } = await usableFamilies({ variant: 'nft', run, hasIPv6 });
    expect(families).toEqual(['IPv6']);
    expect(missing).toEqual([
      { family: 'IPv4', reason: 'iptables-nft-save: no such program (Debian package iptables)' },
    ]);
    expect(new NoUsableFamilyError('iptables', missing).message).toContain(
      'its rules are untouched\nIPv4: iptables-nft-save: no',
    );
  });

  it("passes on what the kernel doesn't have", async () => {
    const broken = {
      'ip6tables-legacy-restore': [3, "can't initialize ip6tables table `nat': Table does not exist"],
    } as const;
    const { run } = nodeWith({ tables: nothing, broken });
    expect(await usableFamilies({ variant: 'legacy', run, hasIPv6 })).toEqual({
      families: ['IPv4'],
      missing: [
        {
          family: 'IPv6',
          reason:
            "ip6tables-legacy-restore: exit status 3: can't initialize ip6tables table `nat': Table does not exist",
        },
      ],
    });
  });

  it('takes a family whose lock is held just now', async () => {
    const held = [
      4,
      'Another app is currently holding the xtables lock. Perhaps you want to use the -w option?',
    ] as const;
    const broken = { 'iptables-legacy-restore': held, 'ip6tables-legacy-restore': held };
    const { run } = nodeWith({ tables: nothing, broken });
    expect((await usableFamilies({ variant: 'legacy', run, hasIPv6 })).families).toEqual(['IPv4', 'IPv6']);
  });
});

describe('toolsOf', () => {
  it('names the programs of one variant and family', () => {
    expect(toolsOf('legacy', 'IPv6')).toEqual({
      variant: 'legacy',
      family: 'IPv6',
      program: 'ip6tables-legacy',
      save: 'ip6tables-legacy-save',
      restore: 'ip6tables-legacy-restore',
    });
  });

  it('tells a held lock from other failures with the same exit status', () => {
    const failure = (stderr: string) =>
      new ExecError('x', { exitCode: 4, stdout: '', stderr, isNotFound: false, isTimeout: false, cause: undefined });
    expect(isLockHeld(failure('Another app is currently holding the xtables lock; still 3s'))).toBe(true);
    expect(isLockHeld(failure('iptables-nft-restore: line 3: CHAIN_DEL failed (Device or resource busy)'))).toBe(false);
  });
});
