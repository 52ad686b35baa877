import { describe, expect, test } from 'vitest';
import { CniRules } from '../../../../src/cni/rules/cni-rules.ts';
import { IptablesTables } from '../../../../src/cni/rules/iptables-tables.ts';
import type { PodRules } from '../../../../src/cni/rules/pod-rules.ts';
import { createLogger } from '../../../../src/log.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';
import { IptablesKernel } from './iptables-kernel.ts';
import { pod, tcp } from './pods.ts';

const settings = { nonMasqueradeCIDRs: [] };
const silent = createLogger({ level: 'fatal' });
const many = (count: number) => Array.from({ length: count }, (_, i) => dual(i + 2));

function dual(number: number, fields: Partial<PodRules> = {}): PodRules {
  const addresses = [`10.88.0.${number}`, `fd00:88::${number}`];
  return pod(number, { addresses, networks: ['10.88.0.0/24', 'fd00:88::/64'], ...fields });
}

function start(kernel = new IptablesKernel(), families: readonly IPFamily[] = ['IPv4', 'IPv6']) {
  const lines: string[] = [];
  const note = (_: object, message: string) => void lines.push(message);
  const tables = new IptablesTables({ families, log: silent, run: kernel.run });
  const rules = new CniRules({ tables, log: { info: note, warn: note, error: note } });
  return { kernel, lines, rules };
}

describe('rules of pods in iptables', () => {
  test('calls that are made together are one restore for each family, and the last pod leaves nothing', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    expect(kernel.restores).toBe(0);
    await Promise.all(many(100).map(each => rules.add(each)));
    expect(kernel.restores).toBe(2);
    expect(await rules.isIntact()).toBe(true);
    expect(kernel.own('IPv6').filter(line => line.includes('MASQUERADE'))).toHaveLength(100);
    await Promise.all(many(100).map(({ key }) => rules.remove(key)));
    expect(kernel.restores).toBe(4);
    expect([kernel.own('IPv4'), kernel.own('IPv6')]).toEqual([[], []]);
    expect(await rules.isIntact()).toBe(true);
  });

  test('a pod of one family leaves the tables of the other alone', async () => {
    const { kernel, rules } = start();
    await rules.start([dual(2)], settings);
    const before = kernel.IPv6.restores.length;
    await rules.add(pod(3));
    await rules.remove(pod(3).key);
    expect(kernel.IPv6.restores).toHaveLength(before);
  });

  test('P02: a hostPort that is taken names its holder, and changes nothing', async () => {
    const { kernel, rules } = start();
    await rules.start([dual(2, { hostPorts: [tcp()] })], settings);
    const { restores } = kernel;
    await expect(rules.add(dual(3, { hostPorts: [tcp()] }))).rejects.toMatchObject({
      code: 102,
      message: expect.stringContaining('taken by net/c2/eth0'),
    });
    expect(kernel.restores).toBe(restores);
  });

  test('A10: checks of the source are refused by the name of the field', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    const mac = dual(2, { spoof: { hostLink: 'veth2', mac: '02:00:00:00:00:02' } });
    const ips = dual(3, { spoof: { hostLink: 'veth3', ips: ['10.88.0.3'] } });
    for (const [each, field] of [
      [mac, 'macspoofchk'],
      [ips, 'ipspoofchk'],
    ] as const) {
      await expect(rules.add(each)).rejects.toMatchObject({
        code: 103,
        message: expect.stringMatching(`^${field}: needs nf_tables`),
      });
    }
    expect(kernel.restores).toBe(0);
  });

  test('F11: what is refused fails its own pod alone, of which nothing is left in either family', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    kernel.IPv6.refuse.add('fd00:88::7/');
    const outcomes = await Promise.allSettled(many(20).map(each => rules.add(each)));
    expect(outcomes.flatMap((outcome, i) => (outcome.status === 'rejected' ? [i + 2] : []))).toEqual([7]);
    const [rejected] = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    expect(rejected!.reason).toMatchObject({ code: 103, message: expect.stringContaining('refused') });
    for (const family of ['IPv4', 'IPv6'] as const) {
      const named = kernel.own(family).filter(line => line.includes('MASQUERADE --random-fully'));
      expect(named.filter(line => line.includes('net/c7/'))).toEqual([]);
      expect(named.filter(line => line.includes('net/c'))).toHaveLength(19);
    }
    expect(await rules.isIntact()).toBe(true);
    kernel.IPv6.refuse.clear();
    await rules.add(dual(7));
    expect(await rules.check(dual(7))).toEqual([]);
  });

  test('a first pod that is refused leaves no chain', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    kernel.IPv4.refuse.add('10.88.0.2/32');
    await expect(rules.add(dual(2))).rejects.toMatchObject({ code: 103 });
    expect([kernel.own('IPv4'), kernel.own('IPv6')]).toEqual([[], []]);
  });

  test('a program that is missing is said, and nothing is remembered of who asked', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    kernel.IPv4.isMissing = true;
    await expect(Promise.all([rules.add(dual(2)), rules.add(dual(3))])).rejects.toThrow('no such program');
    kernel.IPv4.isMissing = false;
    await rules.add(dual(4));
    expect(await rules.isIntact()).toBe(true);
    expect(kernel.own('IPv4').join()).not.toMatch(/net\/c[23]\//);
  });

  test('a restart changes nothing where all is well, and the first DEL after it does', async () => {
    const { kernel, rules } = start();
    await rules.start(many(3), settings);
    const { restores } = kernel;
    const next = start(kernel).rules;
    await next.start(many(3), settings);
    expect(kernel.restores).toBe(restores);
    await Promise.all(many(3).map(({ key }) => next.remove(key)));
    expect([kernel.own('IPv4'), kernel.own('IPv6')]).toEqual([[], []]);
  });

  test('F11: a pod that is refused at the start is in the log, and the others have their rules', async () => {
    const { kernel, rules, lines } = start();
    kernel.IPv6.refuse.add('fd00:88::3/');
    await rules.start(many(3), settings);
    expect(lines).toEqual(['no rules for net/c3/eth0']);
    expect(await rules.isIntact()).toBe(true);
    for (const number of [2, 4]) expect(await rules.check(dual(number))).toEqual([]);
    expect(kernel.own('IPv4').join()).not.toContain('net/c3/');
  });

  test('a restart with the pods in another order changes nothing', async () => {
    const { kernel, rules } = start();
    await rules.start(many(3), settings);
    const { restores } = kernel;
    await start(kernel).rules.start(many(3).toReversed(), settings);
    expect(kernel.restores).toBe(restores);
  });

  test('what failed once is written all the same, though the kernel has as many rules as it should', async () => {
    const { kernel, rules } = start();
    await rules.start([dual(2)], settings);
    kernel.IPv4.refuse.add('10.88.0.3/32');
    kernel.prints = text => {
      kernel.IPv4.refuse.clear();
      return text;
    };
    await Promise.all([rules.remove(dual(2).key), rules.add(dual(3))]);
    expect(kernel.own('IPv4').join()).toContain('net/c3/');
    expect(kernel.own('IPv4').join()).not.toContain('net/c2/');
    expect(await rules.isIntact()).toBe(true);
  });

  test('a start without pods takes away what was left', async () => {
    const { kernel, rules } = start();
    await rules.start(many(3), settings);
    const next = start(kernel, ['IPv4', 'IPv6']).rules;
    await next.start([], settings);
    expect([kernel.own('IPv4'), kernel.own('IPv6')]).toEqual([[], []]);
  });

  test('F09: what somebody takes away comes back with the next pod, or by a repair', async () => {
    const { kernel, rules, lines } = start();
    await rules.start(many(3), settings);
    const before = kernel.own('IPv4');
    kernel.IPv4.dropTable('nat');
    expect(await rules.isIntact()).toBe(false);
    await rules.add(dual(20));
    expect(await rules.isIntact()).toBe(true);
    await rules.remove(dual(20).key);
    expect(kernel.own('IPv4')).toEqual(before);
    kernel.IPv6.dropTable('nat');
    await rules.remove(dual(4).key);
    expect(await rules.isIntact()).toBe(true);
    kernel.IPv4.dropTable('filter');
    await rules.repair();
    expect(lines).toEqual(['somebody changed the chains KPROXY-CNI-* of iptables: written anew']);
    expect(await rules.isIntact()).toBe(true);
    const { restores } = kernel;
    await rules.repair();
    expect(kernel.restores).toBe(restores);
  });

  test('F09: the last pod goes though its chains are gone already', async () => {
    const { kernel, rules } = start();
    await rules.start([dual(2)], settings);
    kernel.IPv4.dropTable('nat');
    await rules.remove(dual(2).key);
    expect([kernel.own('IPv4'), kernel.own('IPv6')]).toEqual([[], []]);
  });

  test('K04, K05: a check names what is missing of the pod, and of what all have in common, but not of others', async () => {
    const { kernel, rules } = start();
    const [own, other] = [dual(2, { hostPorts: [tcp()] }), dual(3)];
    await rules.start([own, other], settings);
    const { restore } = {
      restore: (text: string) =>
        kernel.run('iptables-legacy-restore', ['--noflush'], { input: `*nat\n${text}\nCOMMIT\n` }),
    };
    const of = (chain: string) => kernel.own('IPv4').filter(line => line.startsWith(`-A ${chain} `));
    const without = (line: string) => restore(line.replace('-A ', '-D '));
    await without(of('KPROXY-CNI-PODMASQ').find(line => line.includes('net/c3/'))!);
    expect(await rules.check(own)).toEqual([]);
    expect(await rules.check(other)).toEqual(['missing in iptables (IPv4): the masquerade of 10.88.0.3']);
    await without(of('KPROXY-CNI-HOSTPORT')[0]!);
    expect(await rules.check(own)).toEqual(['missing in iptables (IPv4): hostPort 8080/tcp to 10.88.0.2']);
    await without(of('POSTROUTING')[0]!);
    await without(of('KPROXY-CNI-PODMASQ')[0]!);
    expect(await rules.check(other)).toEqual([
      'missing in iptables (IPv4): the way from POSTROUTING to KPROXY-CNI-MASQ',
      'missing in iptables (IPv4): no masquerade to 224.0.0.0/4',
      'missing in iptables (IPv4): the masquerade of 10.88.0.3',
    ]);
    expect(await rules.check(dual(9))).toContain('missing in iptables (IPv4): the masquerade of 10.88.0.9');
  });

  test('a version that prints rules in another way is no change of somebody', async () => {
    const kernel = new IptablesKernel();
    kernel.prints = text =>
      text.replaceAll('RELATED,ESTABLISHED', 'ESTABLISHED,RELATED').replaceAll('! -o lo', '! -o "lo"');
    const { rules } = start(kernel);
    await rules.start(many(2), settings);
    expect(await rules.isIntact()).toBe(true);
    expect(await rules.check(dual(2))).toEqual([]);
    await rules.add(dual(9));
    expect(await rules.isIntact()).toBe(true);
  });

  test('A19: other networks are written, also when no pod changed', async () => {
    const { kernel, rules } = start();
    await rules.start([pod(2)], settings);
    await rules.start([pod(2)], { nonMasqueradeCIDRs: ['192.0.2.0/24'] });
    expect(kernel.own('IPv4')).toContain('-A KPROXY-CNI-PODMASQ -d 192.0.2.0/24 -j RETURN');
  });

  test('F13: where IPv6 can not be done, pods of IPv4 have their rules, and others are told', async () => {
    const { kernel, rules } = start(new IptablesKernel(), ['IPv4']);
    await rules.start([], settings);
    await rules.add(pod(2));
    await expect(rules.add(dual(3))).rejects.toMatchObject({ code: 103, message: expect.stringContaining('IPv6') });
    expect(kernel.own('IPv4').join()).not.toContain('net/c3/');
    expect(await rules.check(pod(2))).toEqual([]);
    expect(kernel.IPv6.restores).toEqual([]);
  });

  test('a cleanup takes everything away, also twice', async () => {
    const { kernel, rules } = start();
    await rules.start([dual(2, { hostPorts: [tcp()] })], settings);
    await rules.cleanup();
    const { restores } = kernel;
    await rules.cleanup();
    expect(kernel.restores).toBe(restores);
    expect([kernel.own('IPv4'), kernel.own('IPv6')]).toEqual([[], []]);
  });
});
