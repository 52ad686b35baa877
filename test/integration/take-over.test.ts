import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes } from '../../src/lab/layout.ts';
import { describeLab, eventually, labName } from './daemon-lab.ts';
import { losingNothing } from './every-client.ts';
import { Stage } from './fault-lab.ts';
import { FAMILIES, KubeProxysNode, type Mode } from './kube-proxy-node.ts';

const [node] = nodes;

describeLab('a node is taken over from kube-proxy under traffic', () => {
  let lab: Lab;
  let stage: Stage;
  let theirs: KubeProxysNode;

  beforeAll(async () => {
    lab = await createLab({ name: labName('take') });
    stage = await Stage.build(lab);
    await lab.stopDaemon(node.name);
    theirs = new KubeProxysNode(lab, node);
  });
  afterAll(async () => {
    await lab.close();
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.error(theirs.told.join('\n'));
  });

  test.for([
    ['iptables', 'iptables'],
    ['iptables', 'nftables'],
    ['nftables', 'nftables'],
    ['nftables', 'iptables'],
  ] as const)('from its %s mode to ours in %s: no connection is lost, nothing of it stays', async ([layout, mode]) => {
    await theirs.program(layout);
    const kubelets = await Promise.all(FAMILIES.map(family => theirs.kubelets(family)));
    expect(kubelets.map(({ length }) => length)).toEqual([8, 4]);
    await losingNothing({ lab, node, ...stage.targetsOf() }, async () => {
      await theirs.start(mode);
      await eventually(() => expectOnly(mode));
      await stage.move();
      await stage.awaitMoved();
      await stage.expectMoved();
    });
    expect(await Promise.all(FAMILIES.map(family => theirs.kubelets(family)))).toEqual(kubelets);
    const log = theirs.told.join('\n');
    expect(log).toContain(`kube-proxy left rules of its ${layout} mode: taking over`);
    for (const family of FAMILIES) {
      expect(log).toMatch(new RegExp(`^info ${family} differs .* the cluster has not: old/gone:http/TCP$`, 'm'));
      expect(log).toMatch(new RegExp(`^info ${family} taken over from kube-proxy's ${layout} mode: \\d+ ports`, 'm'));
    }
    expect(log).not.toMatch(/^(?:error|warn) .*cannot/m);
    if (mode === 'nftables') expect(log).toContain('the bit of the mark for masquerading: 14 → none');
    // Lists of clients live in rules that stay.
    expect(/session affinity: /.test(log)).toBe(layout !== 'iptables' || mode !== 'iptables');
  });

  /** Only one mode has rules, and nothing is kube-proxy's alone. */
  async function expectOnly(mode: Mode): Promise<void> {
    const chains = await Promise.all(FAMILIES.map(family => theirs.chains(family)));
    for (const found of chains) {
      expect(found).not.toContain('KUBE-PROXY-CANARY');
      expect(found.includes('KUBE-SERVICES')).toBe(mode === 'iptables');
      if (mode === 'nftables') expect(found).toEqual([]);
    }
    expect(await theirs.tables()).toEqual(mode === 'iptables' ? [] : ['ip kproxy-ts', 'ip6 kproxy-ts']);
  }
});
