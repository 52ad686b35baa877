import { describe, expect, test } from 'vitest';
import { CniRules } from '../../../../src/cni/rules/cni-rules.ts';
import { NftTables } from '../../../../src/cni/rules/nft-tables.ts';
import { CniError } from '../../../../src/cni/types.ts';
import { addressBytes } from '../../../../src/net/address-bytes.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';
import { pod, tcp } from './pods.ts';

function start(kernel = new FakeNfTables()) {
  const lines: string[] = [];
  const note = (_: object, message: string) => void lines.push(message);
  const log = { info: note, warn: note, error: note };
  // Never twice the same: somebody may have changed something.
  let generation = 0;
  const tables = new NftTables({ kernel, log, generation: async () => (generation += 1) });
  const rules = new CniRules({ tables, log });
  return { kernel, lines, rules };
}

const settings = { nonMasqueradeCIDRs: [] };
const many = (count: number) => Array.from({ length: count }, (_, i) => pod(i + 2));

describe('rules of pods', () => {
  test('calls that are made together are one transaction; those made meanwhile the next', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    expect(kernel.commits).toBe(0);
    await Promise.all(many(100).map(each => rules.add(each)));
    expect(kernel.commits).toBe(1);
    await Promise.all([rules.add(pod(110)), rules.remove(pod(3).key), rules.remove('net/none/eth0')]);
    expect(kernel.commits).toBe(2);
    expect(await rules.isIntact()).toBe(true);
  });

  test('F11 what the kernel refuses fails its own pod alone, of which nothing is left', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    const bad = addressBytes('10.88.0.7');
    kernel.refuses = (set, { key }) => set === 'masqueraded-pods' && key.equals(bad);
    const outcomes = await Promise.allSettled(many(20).map(each => rules.add(each)));
    expect(outcomes.flatMap((outcome, i) => (outcome.status === 'rejected' ? [i + 2] : []))).toEqual([7]);
    const [rejected] = outcomes.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    expect(rejected!.reason).toBeInstanceOf(CniError);
    expect(rejected!.reason).toMatchObject({
      code: 103,
      message: expect.stringContaining('elements of masqueraded-pods'),
    });
    expect(await rules.isIntact()).toBe(true);
    kernel.refuses = () => false;
    await rules.add(pod(7));
    expect(await rules.check(pod(7))).toEqual([]);
  });

  test('a restart changes nothing where all is well, and writes anew where a pod is gone or the rules are of another release', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    await Promise.all(many(3).map(each => rules.add(each)));
    const { commits } = kernel;
    await start(kernel).rules.start(many(3), settings);
    expect(kernel.commits).toBe(commits);
    const next = start(kernel).rules;
    await next.start(many(2), settings);
    expect(kernel.commits).toBe(commits + 1);
    expect(await next.check(pod(4))).toEqual(['missing in nf_tables: the masquerade of 10.88.0.4']);
  });

  test('a pod that is refused at the start is in the log, and the others have their rules', async () => {
    const { kernel, rules, lines } = start();
    kernel.refuses = (_, { key }) => key.equals(addressBytes('10.88.0.3'));
    await rules.start([...many(3), pod(9, { hostPorts: [tcp()] }), pod(10, { hostPorts: [tcp()] })], settings);
    expect(lines).toEqual(['no rules for net/c10/eth0', 'no rules for net/c3/eth0']);
    expect(await rules.check(pod(9, { hostPorts: [tcp()] }))).toEqual([]);
    expect(await rules.isIntact()).toBe(true);
  });

  test('F09 a ruleset that is gone comes back with the next pod, or by a repair', async () => {
    const { kernel, rules, lines } = start();
    await rules.start(many(3), settings);
    kernel.clear();
    expect(await rules.isIntact()).toBe(false);
    await rules.add(pod(20));
    expect(lines).toEqual(['somebody changed the table kproxy-ts-cni; it is written anew']);
    expect(await rules.isIntact()).toBe(true);
    kernel.clear();
    await rules.remove(pod(20).key);
    expect(await rules.isIntact()).toBe(true);
    kernel.clear();
    await rules.repair();
    expect(await rules.isIntact()).toBe(true);
    const { commits } = kernel;
    await rules.repair();
    expect(kernel.commits).toBe(commits);
  });

  test('F13 without IPv6 in the kernel, pods of IPv4 have their rules, and others are told', async () => {
    const { kernel, rules } = start();
    kernel.lacksTable = family => family === 10;
    await rules.start([], settings);
    await rules.add(pod(2));
    await expect(rules.add(pod(3, { addresses: ['fd00::3'], networks: ['fd00::/64'] }))).rejects.toMatchObject({
      code: 103,
    });
    expect(await rules.isIntact()).toBe(true);
    expect(await rules.check(pod(2))).toEqual([]);
  });

  test('the table of frames comes with the first pod whose source is checked', async () => {
    const { kernel, rules } = start();
    kernel.lacksTable = family => family === 7;
    await rules.start([], settings);
    await rules.add(pod(2));
    const checked = pod(3, { spoof: { hostLink: 'veth3', mac: '02:00:00:00:00:03' } });
    await expect(rules.add(checked)).rejects.toThrow('the kernel refuses a table (bridge): not supported');
    kernel.lacksTable = () => false;
    await rules.add(checked);
    expect(await rules.check(checked)).toEqual([]);
  });

  test('when nf_tables can’t be asked, all are told so, and nothing is remembered of them', async () => {
    const { kernel, rules } = start();
    await rules.start([], settings);
    const { commit } = kernel;
    kernel.commit = async () => {
      throw new Error('no answer');
    };
    const outcomes = await Promise.allSettled([rules.add(pod(2)), rules.add(pod(3))]);
    expect(outcomes.map(outcome => (outcome.status === 'rejected' ? outcome.reason.message : ''))).toEqual(
      Array(2).fill("nf_tables can't be asked: no answer"),
    );
    kernel.commit = commit;
    await rules.add(pod(2));
    expect(await rules.isIntact()).toBe(true);
  });

  test('A19 other networks are written though the kernel was found intact with those before, and nothing changed since', async () => {
    const kernel = new FakeNfTables();
    const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
    const tables = new NftTables({ kernel, log, generation: async () => kernel.commits });
    const rules = new CniRules({ tables, log });
    await rules.start([pod(2)], settings);
    expect(await rules.isIntact()).toBe(true);
    const { commits } = kernel;
    await rules.start([pod(2)], { nonMasqueradeCIDRs: ['192.0.2.0/24'] });
    expect(kernel.commits).toBe(commits + 1);
    await rules.start([pod(2)], { nonMasqueradeCIDRs: ['192.0.2.0/24'] });
    expect(kernel.commits).toBe(commits + 1);
  });

  test('a cleanup takes everything away, also twice', async () => {
    const { kernel, rules } = start();
    await rules.start([pod(2, { spoof: { hostLink: 'veth2', ips: ['10.88.0.2'] } })], settings);
    await rules.cleanup();
    await rules.cleanup();
    expect(kernel.commits).toBe(2);
    expect(await rules.check(pod(2))).not.toEqual([]);
  });
});
