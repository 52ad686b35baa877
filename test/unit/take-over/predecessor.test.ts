import { expect, it } from 'vitest';
import type { Mode } from '../../../src/backends/mode.ts';
import { defaultConfiguration } from '../../../src/config/load.ts';
import type { ProxyMode } from '../../../src/config/proxy-modes.ts';
import { emptyModel } from '../../../src/endpoints/model.ts';
import { createLogger } from '../../../src/log.ts';
import { Predecessor } from '../../../src/take-over/predecessor.ts';
import type { IPFamily } from '../../../src/watch/objects.ts';

const { configuration } = defaultConfiguration();
const BOTH: readonly IPFamily[] = ['IPv4', 'IPv6'];

interface Setup {
  readonly used: ProxyMode;
  readonly takesOver?: boolean;
  /** kube-proxy's mode. */
  readonly left?: ProxyMode;
  readonly alive?: () => string[];
  readonly isStuck?: boolean;
}

/** A node whose modes note what is taken away. */
function setUp({ used, takesOver = false, left, alive = () => [], isStuck = false }: Setup) {
  const done: string[] = [];
  const lines: string[] = [];
  const write = (line: string) => {
    const { level, msg } = JSON.parse(line) as { level: string; msg: string };
    lines.push(`${level} ${msg}`);
  };
  const mode = (name: ProxyMode): Mode => ({
    name,
    obstacle: async () => undefined,
    settle: () => Promise.reject(new Error('not asked for')),
    prepareNode: async () => [],
    readFamilies: async () => [],
    removeEverywhere: async () => 0,
    removeLeftovers: async family => void done.push(`ours, ${name}, ${family}`),
    kubeProxy: {
      areShared: name === 'iptables',
      find: async () => (left === name ? BOTH : []),
      read: async () => ({
        layout: name,
        services: new Set(['old/gone:http/TCP']),
        nodePortAddresses: 'all',
        hasLocalhostNodePorts: false,
      }),
      remove: async family => {
        if (isStuck) throw new Error('it is in use');
        done.push(`kube-proxy's, ${name}, ${family}`);
      },
    },
  });
  const modes = [mode('nftables'), mode('iptables')];
  const predecessor = new Predecessor({
    used: modes.find(({ name }) => name === used)!,
    takesOver,
    configuration: () => configuration,
    log: createLogger({ level: 'info', destination: { write } }),
    modes: async () => modes,
    findAlive: async () => alive(),
  });
  return { predecessor, done, lines };
}

async function retired({ predecessor }: Pick<ReturnType<typeof setUp>, 'predecessor'>): Promise<void> {
  await predecessor.look();
  for (const family of BOTH) {
    const report = {
      cause: 'start',
      isFull: true,
      changes: 1,
      failures: [],
      repaired: [],
      planMs: 0,
      applyMs: 0,
      queuedAtMs: 0,
    } as const;
    const model = emptyModel(family, { name: 'node-a', zone: '' });
    predecessor.follower(family).synced({ model, nodePortAddresses: 'all', hasLocalhostNodePorts: false, report });
    await predecessor.retire(family);
  }
}

it('what another mode of ours left goes', async () => {
  for (const [used, other] of [
    ['nftables', 'iptables'],
    ['iptables', 'nftables'],
  ] as const) {
    const node = setUp({ used });
    await retired(node);
    expect(node.done).toEqual(BOTH.map(family => `ours, ${other}, ${family}`));
    expect(node.lines).toEqual([]);
  }
});

it('unless asked to, kube-proxy’s iptables rules are not taken for ours: they stay, and one line says so', async () => {
  const node = setUp({ used: 'nftables', left: 'iptables' });
  await retired(node);
  await retired(node);
  expect(node.done).toEqual([]);
  expect(node.lines).toEqual([expect.stringMatching(/^warn kube-proxy's iptables rules are on this node/)]);
});

it('unless asked to, its table stays, and ours of the same mode goes all the same', async () => {
  const node = setUp({ used: 'iptables', left: 'nftables' });
  await retired(node);
  expect(node.done).toEqual(BOTH.map(family => `ours, nftables, ${family}`));
});

it.each([
  ['nftables', 'iptables', ['ours, iptables', "kube-proxy's, iptables"]],
  ['nftables', 'nftables', ["kube-proxy's, nftables", 'ours, iptables']],
  ['iptables', 'iptables', ['ours, nftables', "kube-proxy's, iptables"]],
  ['iptables', 'nftables', ['ours, nftables', "kube-proxy's, nftables"]],
] as const)(
  'taken over by %s from its %s mode: all of it goes, with the differences told before',
  async (used, left, gone) => {
    const node = setUp({ used, left, takesOver: true });
    await retired(node);
    expect(node.done).toEqual(BOTH.flatMap(family => gone.map(what => `${what}, ${family}`)));
    const told = node.lines.filter(line => line.includes('the cluster has not: old/gone:http/TCP'));
    expect(told).toHaveLength(2);
    expect(node.lines.at(-1)).toMatch(
      /^info taken over from kube-proxy's \w+ mode: 1 ports of Services, \d differences$/,
    );
  },
);

it('when kube-proxy was started meanwhile, its rules stay', async () => {
  for (const left of ['iptables', 'nftables'] as const) {
    const node = setUp({ used: 'nftables', left, takesOver: true, alive: () => ['process 12 (kube-proxy)'] });
    await retired(node);
    expect(node.done.filter(what => what.startsWith('kube-proxy') || left === 'iptables')).toEqual([]);
    expect(node.lines).toContain(
      'warn kube-proxy runs again: its rules stay, and two programs write: process 12 (kube-proxy)',
    );
  }
});

it('what cannot be removed is told, and is no reason not to go on', async () => {
  const node = setUp({ used: 'nftables', left: 'nftables', takesOver: true, isStuck: true });
  await retired(node);
  expect(node.done).toEqual(BOTH.map(family => `ours, iptables, ${family}`));
  expect(node.lines).toContain('warn what kube-proxy left of its nftables mode cannot be removed: packets pass it too');
});
