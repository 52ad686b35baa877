import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { healthzPort, nodes } from '../../src/lab/layout.ts';
import { describeLab, eventually, labName } from './daemon-lab.ts';
import { losingNothing } from './every-client.ts';
import { ExtraDaemon, expectOneWriter } from './extra-daemon.ts';
import { Stage } from './fault-lab.ts';

const [node] = nodes;
type Mode = 'iptables' | 'nftables';

describeLab('a node whose mode changes', () => {
  let lab: Lab;
  let stage: Stage;
  let daemons: ExtraDaemon[] = [];
  let started = 0;

  beforeAll(async () => {
    lab = await createLab({ name: labName('mode') });
    stage = await Stage.build(lab);
    await lab.stopDaemon(node.name);
  });
  afterAll(async () => {
    await lab.close();
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') for (const daemon of daemons) console.error(daemon.story);
    const all = daemons;
    daemons = [];
    for (const daemon of all) await daemon.end('SIGKILL');
    expectOneWriter(all);
  });

  /** One that has the lock, every rule in the kernel, and has taken away what another mode left. */
  async function startReady(mode: Mode): Promise<ExtraDaemon> {
    started += 1;
    const configuration = (text: string) => text.replace(/^mode: .*$/m, `mode: ${mode}`);
    const daemon = await ExtraDaemon.start(lab, node.name, { name: `m${started}`, configuration });
    daemons.push(daemon);
    await daemon.writes();
    await settled(mode);
    return daemon;
  }

  async function settled(mode: Mode): Promise<void> {
    await eventually(() => lab.exec(node.name, ['curl', '-sf', `http://127.0.0.1:${healthzPort}/readyz`]));
    await eventually(async () => expect(await modesInKernel()).toEqual([`${mode} IPv4`, `${mode} IPv6`]));
  }

  /** Which modes have rules in the kernel, as text. */
  async function modesInKernel(): Promise<string[]> {
    const { stdout: tables } = await lab.exec(node.name, ['nft', 'list', 'tables']);
    const { stdout: chains4 } = await lab.exec(node.name, ['iptables-nft-save']);
    const { stdout: chains6 } = await lab.exec(node.name, ['ip6tables-nft-save']);
    const found = {
      'iptables IPv4': chains4.includes('KUBE-'),
      'iptables IPv6': chains6.includes('KUBE-'),
      'nftables IPv4': /^table ip kproxy-ts$/m.test(tables),
      'nftables IPv6': /^table ip6 kproxy-ts$/m.test(tables),
    };
    return Object.entries(found).flatMap(([name, isThere]) => (isThere ? [name] : []));
  }

  /** Changes reach the kernel, and new connections go where they should. */
  async function expectWriter(daemon: ExtraDaemon): Promise<void> {
    await stage.move();
    await stage.awaitMoved();
    await stage.expectMoved();
    expect(daemon.fate).toBe('');
    expect(daemons.filter(({ isWriting }) => isWriting).map(({ name }) => name)).toEqual([daemon.name]);
  }

  const withoutLoss = (body: () => Promise<void>) => losingNothing({ lab, node, ...stage.targetsOf() }, body);

  test.for([
    ['iptables', 'nftables'],
    ['nftables', 'iptables'],
  ] as const)('%s to %s by a hand-over: no connection is lost, nothing of the old one stays', ([from, to]) =>
    withoutLoss(async () => {
      const before = await startReady(from);
      const after = await startReady(to);
      expect(before.isWriting).toBe(false);
      await expectWriter(after);
    }),
  );

  test.for([
    ['iptables', 'nftables'],
    ['nftables', 'iptables'],
  ] as const)('%s to %s by a stop and a start: the same, and the rules stay meanwhile', ([from, to]) =>
    withoutLoss(async () => {
      const before = await startReady(from);
      expect(await before.end()).toBe('exited with status 0');
      expect(await modesInKernel()).toEqual([`${from} IPv4`, `${from} IPv6`]);
      await expectWriter(await startReady(to));
    }),
  );

  test('and the new one is killed: the old one, which stands by, brings its mode back', () =>
    withoutLoss(async () => {
      const before = await startReady('iptables');
      const after = await startReady('nftables');
      await after.end('SIGKILL');
      await eventually(() => expect(before.isWriting).toBe(true));
      await settled('iptables');
      await expectWriter(before);
    }));
});
