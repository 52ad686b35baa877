/** Rules of pods in iptables when others change them, when the agent dies, and when all is taken away. */
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { nodeProgram, projectDir } from '../../src/lab/install.ts';
import { FAR, IptablesLab, mappings, NODE, REPAIR, TOOLS, tcp } from './cni-iptables-lab.ts';
import { who } from './cni-packets.ts';

describe('rules of pods in iptables stay right', () => {
  let lab: IptablesLab;
  beforeAll(async () => {
    lab = await IptablesLab.start('iptf');
  });
  afterEach(() => lab.expectNothingLeft());
  afterAll(() => lab[Symbol.asyncDispose]());

  test('K04, K05: CHECK tells what is missing, until the agent has put it back', async () => {
    const { result: prevResult } = await lab.add(0, mappings(tcp));
    const before = await lab.own();
    const check = () =>
      lab.node.call({ verb: 'CHECK', pod: lab.pods[0]!, id: 'c0', config: { ...mappings(tcp), prevResult } });
    expect((await check()).stdout).toBe('');
    for (const [chain, what] of [
      ['KPROXY-CNI-PODMASQ', 'the masquerade of 10.88.0.'],
      ['KPROXY-CNI-HOSTPORT', 'hostPort 8080/tcp to 10.88.0.'],
      ['POSTROUTING', 'the way from POSTROUTING to KPROXY-CNI-MASQ'],
    ] as const) {
      const flushed = async () => {
        await lab.node.exec(['iptables-legacy', '-t', 'nat', '-F', chain]);
        return (await check()).stdout;
      };
      await expect.poll(flushed, REPAIR).toContain(`missing in iptables (IPv4): ${what}`);
    }
    await expect.poll(() => lab.own(), REPAIR).toEqual(before);
    expect((await check()).stdout).toBe('');
  });

  test('F09: what somebody flushes is there again, with the packets', async () => {
    await lab.add(0, mappings(tcp));
    const before = await lab.own();
    for (const take of [
      ['-t', 'nat', '-F'],
      [
        '-t',
        'nat',
        '-D',
        'POSTROUTING',
        '-m',
        'comment',
        '--comment',
        'kproxy-ts: pods of this node',
        '-j',
        'KPROXY-CNI-MASQ',
      ],
      ['-t', 'nat', '-F', 'KPROXY-CNI-HOSTMASQ'],
    ]) {
      for (const tool of TOOLS) await lab.node.exec([tool, ...take]);
      expect(await lab.own()).not.toEqual(before);
      await expect.poll(() => lab.own(), REPAIR).toEqual(before);
    }
    for (const [index, address] of FAR.entries()) {
      expect(await who(lab.inside(0), { address, port: 80 })).toBe(`outside ${NODE[index]}`);
      expect(await who(lab.far, { address: NODE[index]!, port: 8080 })).toBe(`pod0 ${address}`);
    }
  });

  test('F04: an agent that is killed between two changes is followed by one that has the rules right', async () => {
    await lab.add(0, mappings(tcp));
    const before = await lab.own();
    await lab.node.stopAgent('SIGKILL');
    expect(await lab.own()).toEqual(before);
    expect(await who(lab.far, { address: NODE[0], port: 8080 })).toBe(`pod0 ${FAR[0]}`);
    await lab.node.startAgent();
    expect(await lab.own()).toEqual(before);
    await lab.node.stopAgent('SIGKILL');
    for (const tool of TOOLS) await lab.node.exec([tool, '-t', 'nat', '-F']);
    await lab.node.startAgent();
    expect(await lab.own()).toEqual(before);
    expect(await who(lab.inside(0), { address: FAR[0], port: 80 })).toBe(`outside ${NODE[0]}`);
  });

  test('F04: an agent that is killed while pods come leaves nothing that their DELs leave', async () => {
    const names = Array.from({ length: 6 }, (_, index) => `kill${index}`);
    const paths = await Promise.all(names.map(name => lab.node.pod(name)));
    const adds = paths.map((pod, index) => lab.node.add(pod, { id: names[index]! }));
    await expect.poll(() => lab.own(), REPAIR).not.toEqual([]);
    await lab.node.stopAgent('SIGKILL');
    await Promise.all(adds);
    await lab.node.startAgent();
    for (const [index, pod] of paths.entries()) expect((await lab.node.del(pod, { id: names[index]! })).status).toBe(0);
    for (const pod of paths) await lab.node.removePod(pod);
    expect(await lab.node.residue()).toEqual([]);
  });

  test('cleanup takes all of it away, and an agent that starts makes it again', async () => {
    for (const tool of TOOLS) await lab.node.exec([tool, '-P', 'FORWARD', 'DROP']);
    await lab.add(0, mappings(tcp));
    await lab.node.stopAgent();
    await lab.node.startAgent();
    const before = await lab.own();
    expect(before.join()).toContain('KPROXY-CNI-FORWARD');
    await lab.node.stopAgent();
    const removal = pathToFileURL(join(projectDir, 'src/cni/rules/removal.ts')).href;
    const script = `const { removeCniRules } = await import('${removal}'); await removeCniRules(console);`;
    await lab.node.exec([nodeProgram, '--input-type=module', '-e', script]);
    expect(await lab.own()).toEqual([]);
    await lab.node.startAgent();
    expect(await lab.own()).toEqual(before);
    for (const tool of TOOLS) await lab.node.exec([tool, '-P', 'FORWARD', 'ACCEPT']);
    await lab.node.stopAgent();
    await lab.node.startAgent();
  });

  test('many at once have their rules, and none when they are gone', async () => {
    const names = Array.from({ length: 12 }, (_, index) => `many${index}`);
    const paths = await Promise.all(names.map(name => lab.node.pod(name)));
    const ports = (index: number) => mappings({ ...tcp, hostPort: 9000 + index });
    const answers = await Promise.all(
      paths.map((pod, index) => lab.node.add(pod, { id: names[index]!, config: ports(index) })),
    );
    expect(answers.map(({ status }) => status)).toEqual(names.map(() => 0));
    const rules = await lab.own();
    for (const name of names) expect(rules.filter(line => line.includes(`kp/${name}/eth0`))).toHaveLength(6);
    await Promise.all(paths.map((pod, index) => lab.node.del(pod, { id: names[index]! })));
    for (const pod of paths) await lab.node.removePod(pod);
    expect(await lab.node.residue()).toEqual([]);
  });
});
