/** Pods are reached where iptables' FORWARD drops the rest, with real packets between namespaces. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { HostPort } from '../../src/cni/types.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { BRIDGE, NODE, OUTSIDE, PORT, podRules, RulesNode } from './cni-rules-node.ts';
import { describeUnless } from './requires.ts';

const FAMILIES = ['IPv4', 'IPv6'] as const;
const HOST_PORT: HostPort = { hostIP: '', hostPort: 8080, protocol: 'tcp', containerPort: PORT };

describeUnless(await obstacle(), "acceptance of pods' packets in FORWARD", () => {
  let node: RulesNode;
  beforeAll(async () => {
    node = await RulesNode.create();
    for (const tool of ['iptables-nft', 'ip6tables-nft']) {
      await node.run('node', tool, '-A', 'FORWARD', '-m', 'comment', '--comment', 'canary');
    }
  });
  afterAll(() => node[Symbol.asyncDispose]());
  afterEach(() => node.do('cleanup'));

  for (const [variant, rest] of [
    ['nft', 'policy'],
    ['nft', 'rule'],
    ['legacy', 'policy'],
  ] as const) {
    test(`pods are reached where FORWARD drops the rest (${variant}, by ${rest}), and others' rules stay`, async () => {
      const tables = FAMILIES.map(family => `${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}`);
      for (const tool of tables) {
        await node.run(
          'node',
          tool,
          ...(rest === 'policy' ? ['-P', 'FORWARD', 'DROP'] : ['-A', 'FORWARD', '-j', 'REJECT']),
        );
      }
      const saved = () =>
        Promise.all(
          tables.map(async tool =>
            (await node.run('node', `${tool}-save`, '-t', 'filter')).replaceAll(/^#.*\n|\[\d+:\d+\]/gm, ''),
          ),
        );
      const before = await saved();
      await node.do('start', [podRules('a', { hostPorts: [HOST_PORT] })]);
      const reached = async (family: 'IPv4' | 'IPv6') => [
        await node.ask('a', { address: OUTSIDE[family], port: PORT }),
        await node.ask('outside', { address: NODE[family], port: 8080 }),
      ];
      for (const family of FAMILIES) expect(await reached(family)).not.toContain(`outside ${NODE[family]}`);
      expect(await node.do('accept', [BRIDGE])).toEqual({ written: expect.arrayContaining(tables), problems: [] });
      for (const family of FAMILIES)
        expect(await reached(family)).toEqual([`outside ${NODE[family]}`, `a ${OUTSIDE[family]}`]);
      expect(await node.do('accept', [BRIDGE])).toEqual({ written: [], problems: [] });
      await node.run('node', tables[0]!, '-F', 'KPROXY-CNI-FORWARD');
      expect(await node.do('accept', [BRIDGE])).toEqual({ written: tables.slice(0, 1), problems: [] });
      expect(await node.do('removeForwarding')).toEqual({ written: expect.arrayContaining(tables), problems: [] });
      expect(await saved()).toEqual(before);
      for (const tool of tables) {
        await node.run(
          'node',
          tool,
          ...(rest === 'policy' ? ['-P', 'FORWARD', 'ACCEPT'] : ['-D', 'FORWARD', '-j', 'REJECT']),
        );
      }
    });
  }
});
