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

  test('by hand-overs, to and fro: no connection is lost, nothing of the old one stays', () =>
    withoutLoss(async () => {
      let before = await startReady('iptables');
      for (const mode of ['nftables', 'iptables'] as const) {
        const after = await startReady(mode);
        expect(before.isWriting).toBe(false);
        await expectWriter(after);
        expect(await before.end()).toBe('exited with status 0');
        before = after;
      }
      await expectWriter(before);
    }));

  test('by stops and starts, to and fro: the same, and the rules stay meanwhile', () =>
    withoutLoss(async () => {
      let before: Mode = 'iptables';
      await (await startReady(before)).end();
      for (const mode of ['nftables', 'iptables'] as const) {
        expect(await modesInKernel()).toEqual([`${before} IPv4`, `${before} IPv6`]);
        const daemon = await startReady(mode);
        await expectWriter(daemon);
        await daemon.end();
        before = mode;
      }
    }));

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
