/** What somebody else does to our rules is undone within a sync period, in both variants and both families, and logged. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { toolsOf, type Variant } from '../../src/backends/iptables/tools.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { healthzPort, nodes, web } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import type { IPFamily } from '../../src/watch/objects.ts';
import {
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  eventually,
  handlesOf,
  labName,
  logLines,
} from './daemon-lab.ts';

const [nodeA, nodeB] = nodes;
const SYNC_PERIOD_S = 1;
const FAMILIES = ['IPv4', 'IPv6'] as const;
/** Somebody else's, in built-in chains and in one of their own. */
const FOREIGN = `*nat
:OTHERS - [0:0]
-A OTHERS -j RETURN
-A PREROUTING -p tcp -m tcp --dport 9 -j OTHERS
COMMIT
*filter
-A FORWARD -p tcp -m tcp --dport 9 -j ACCEPT
COMMIT
`;
const isForeign = (line: string) => /OTHERS|--dport [79] /.test(line);

interface Subject {
  readonly node: string;
  readonly variant: Variant;
  readonly family: IPFamily;
}

const SUBJECTS: readonly Subject[] = FAMILIES.flatMap(family => [
  { node: nodeA.name, variant: 'nft', family },
  { node: nodeB.name, variant: 'legacy', family },
]);

type Do = (...args: string[]) => Promise<unknown>;

interface Damage {
  readonly what: string;
  /** Runs iptables with arguments, or iptables-restore with input. */
  readonly act: (iptables: Do, restore: (input: string, ...args: string[]) => Promise<unknown>) => Promise<unknown>;
  /** Part of what the log says was wrong. */
  readonly named: string;
  /** Whether it took foreign rules away too, which nobody brings back. */
  readonly takesForeign?: boolean;
}

const jump = (chain: string) => [
  chain,
  '-m',
  'comment',
  '--comment',
  'kubernetes service portals',
  '-j',
  'KUBE-SERVICES',
];

const DAMAGES: readonly Damage[] = [
  {
    what: 'nat is flushed',
    act: iptables => iptables('-t', 'nat', '-F'),
    named: 'nat/PREROUTING',
    takesForeign: true,
  },
  {
    what: 'nat is flushed and its empty chains are deleted',
    // At once: between two calls the daemon may have repaired what the first one did.
    act: (_, restore) => restore('*nat\n-F\n-X\nCOMMIT\n', '--noflush'),
    named: 'nat/KUBE-SERVICES',
    takesForeign: true,
  },
  {
    what: 'KUBE-SERVICES is flushed',
    act: iptables => iptables('-t', 'nat', '-F', 'KUBE-SERVICES'),
    named: 'nat/KUBE-SERVICES',
  },
  {
    what: 'a rule is deleted',
    act: iptables => iptables('-t', 'nat', '-D', 'KUBE-SERVICES', '1'),
    named: 'nat/KUBE-SERVICES ',
  },
  {
    what: 'a rule is added to a chain of ours',
    act: iptables => iptables('-t', 'nat', '-I', 'KUBE-POSTROUTING', '-p', 'udp', '-j', 'RETURN'),
    named: 'nat/KUBE-POSTROUTING',
  },
  {
    what: 'a rule is added before the entries of all Services',
    act: iptables => iptables('-t', 'nat', '-I', 'KUBE-SERVICES', '-p', 'tcp', '-j', 'ACCEPT'),
    named: 'nat/KUBE-SERVICES -p tcp -j ACCEPT',
  },
  {
    what: 'a jump to ours is deleted from PREROUTING',
    act: iptables => iptables('-t', 'nat', '-D', ...jump('PREROUTING')),
    named: 'nat/PREROUTING',
  },
  {
    what: 'the jump to KUBE-NODEPORTS is moved to the front',
    act: async iptables => {
      const rule = [
        '-m',
        'comment',
        '--comment',
        'kubernetes service nodeports; NOTE: this must be the last rule in this chain',
      ];
      await iptables(
        '-t',
        'nat',
        '-I',
        'KUBE-SERVICES',
        ...rule,
        '-m',
        'addrtype',
        '--dst-type',
        'LOCAL',
        '-j',
        'KUBE-NODEPORTS',
      );
    },
    named: 'KUBE-NODEPORTS',
  },
  {
    what: 'somebody restores a whole table of their own',
    act: (_, restore) =>
      restore('*nat\n:PREROUTING ACCEPT [0:0]\n:OTHERS - [0:0]\n-A PREROUTING -p tcp --dport 7 -j OTHERS\nCOMMIT\n'),
    named: 'nat/KUBE-SERVICES',
    takesForeign: true,
  },
];

describeLab('drift', () => {
  let lab: Lab;
  let pods: readonly PodState[];

  beforeAll(async () => {
    lab = await createLab({ name: labName('dr'), pods: 2 });
    pods = lab.pods;
    await awaitUsed(lab, { service: 'default/web', pods });
    for (const { node, variant } of SUBJECTS.slice(0, 2)) {
      await lab.stopDaemon(node);
      await lab.startDaemon(node, {
        configuration: text => `${text}iptables:
  syncPeriod: ${SYNC_PERIOD_S}s
  minSyncPeriod: 10ms
---
apiVersion: kproxy-ts.dev/v1alpha1
kind: NodeConfiguration
iptables:
  variant: ${variant}
`,
      });
    }
  });
  afterAll(async () => {
    await lab.close();
  });

  const program = ({ variant, family }: Subject) => `${family === 'IPv6' ? 'ip6tables' : 'iptables'}-${variant}`;
  const iptables = (subject: Subject, ...args: readonly string[]) =>
    lab.exec(subject.node, [program(subject), ...args]);

  /** All rules of filter and nat, sorted; `isLast`: whether the jump to KUBE-NODEPORTS is the last rule of its chain. */
  async function rules(subject: Subject): Promise<{ lines: readonly string[]; isLast: boolean }> {
    const lines: string[] = [];
    for (const table of ['filter', 'nat']) {
      const { stdout } = await lab.exec(subject.node, [toolsOf(subject.variant, subject.family).save, '-t', table]);
      lines.push(
        ...stdout
          .split('\n')
          .filter(line => /^(?:-A|:(?:KUBE|OTHERS))/.test(line))
          .map(line => `${table} ${line}`),
      );
    }
    const last = lines.findLast(line => line.startsWith('nat -A KUBE-SERVICES '));
    return { lines: lines.toSorted(), isLast: last?.endsWith('-j KUBE-NODEPORTS') === true };
  }

  /** `web` answers a pod of the node by its cluster IP and the node itself by its nodePort, all of the family. */
  async function expectWeb({ node, family }: Subject): Promise<void> {
    const pod = pods.find(candidate => candidate.node === node);
    const at = nodes.find(({ name }) => name === node);
    const isV6 = family === 'IPv6';
    const targets = [
      [pod?.name ?? '', isV6 ? web.clusterIP6 : web.clusterIP, web.port],
      ['client', (isV6 ? at?.address6 : at?.address) ?? '', web.nodePort],
    ] as const;
    for (const [from, address, port] of targets) {
      const { failures, replies } = await lab.probe(from, { address, port, count: 20 });
      expect(failures).toEqual([]);
      expect(replies).toHaveLength(20);
    }
  }

  const repairs = ({ node, family }: Subject) =>
    logLines(lab, node).filter(line => line.family === family && /changed by somebody else: repaired/.test(line.msg));

  /** Waits until the rules are `before` again, at most a sync period and what a busy machine takes. */
  async function expectRepaired(subject: Subject, before: readonly string[]): Promise<void> {
    const hasForeign = before.some(isForeign);
    await eventually(
      async () => {
        const { lines, isLast } = await rules(subject);
        expect(hasForeign ? lines : lines.filter(line => !isForeign(line))).toEqual(before);
        expect(isLast).toBe(true);
      },
      SYNC_PERIOD_S * 1000 + 3000,
    );
    await expectWeb(subject);
  }

  async function removeForeign(subject: Subject): Promise<void> {
    const { lines } = await rules(subject);
    for (const line of lines.filter(text => /--dport [79] /.test(text))) {
      const [table = '', , ...rule] = line.split(' ');
      await iptables(subject, '-t', table, '-D', ...rule);
    }
    if (!lines.some(line => line.startsWith('nat :OTHERS '))) return;
    await iptables(subject, '-t', 'nat', '-F', 'OTHERS');
    await iptables(subject, '-t', 'nat', '-X', 'OTHERS');
  }

  test('the variant that the node used before holds nothing of ours any more', async () => {
    // Ready means that ours are programmed; only then do the others go.
    await eventually(async () => {
      for (const family of FAMILIES) {
        expect((await rules({ node: nodeB.name, variant: 'nft', family })).lines).toEqual([]);
      }
    });
    const removed = logLines(lab, nodeB.name).filter(({ msg }) => /were left in iptables-nft: removed$/.test(msg));
    expect(removed.map(({ family }) => family).toSorted()).toEqual([...FAMILIES]);
    for (const subject of SUBJECTS) await expectWeb(subject);
  });

  test('nft: the whole ruleset is flushed, of both families at once', async () => {
    const both = SUBJECTS.filter(({ variant }) => variant === 'nft');
    const before = await Promise.all(both.map(rules));
    await lab.exec(nodeA.name, ['nft', 'flush', 'ruleset']);
    for (const [i, subject] of both.entries()) await expectRepaired(subject, before[i]?.lines ?? []);
  });

  test('nft: what somebody else commits beside our rules is no reason to write', async () => {
    const handles = await handlesOf(lab, nodeA.name);
    const logged = logLines(lab, nodeA.name).length;
    await lab.exec(nodeA.name, ['nft', 'add table inet others']);
    await delay(3 * SYNC_PERIOD_S * 1000);
    await lab.exec(nodeA.name, ['nft', 'delete table inet others']);
    expect(await handlesOf(lab, nodeA.name)).toBe(handles);
    expect(logLines(lab, nodeA.name).slice(logged)).toEqual([]);
    const said = logLines(lab, nodeA.name).filter(({ msg }) => msg.includes('does not tell its generation'));
    expect(said).toEqual([]);
  });

  test('legacy: while the xtables lock is held for longer than two sync periods, /livez fails; then all is made up for', async () => {
    const statusOf = async (route: string) => {
      const url = `http://127.0.0.1:${healthzPort}${route}`;
      return (await lab.exec(nodeB.name, ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', url])).stdout;
    };
    expect(await statusOf('/livez')).toBe('200');
    const seconds = 3 * SYNC_PERIOD_S + 3;
    const held = lab.exec(nodeB.name, ['sh', '-c', `exec flock --no-fork "$XTABLES_LOCKFILE" sleep ${seconds}`]);
    await createService(lab, { name: 'late', clusterIP: '10.96.7.7', ports: bothProtocols }, [endpoint(pods[0]!)]);
    await eventually(async () => expect(await statusOf('/livez')).toBe('503'));
    await held;
    await eventually(async () => expect(await statusOf('/livez')).toBe('200'));
    await awaitUsed(lab, { service: 'default/late', pods: pods.slice(0, 1), on: [nodeB.name] });
    expect((await rules(SUBJECTS[1]!)).lines.join('\n')).toContain('10.96.7.7/32');
    const said = logLines(lab, nodeB.name).map(({ msg }) => msg);
    expect(said).toContainEqual(expect.stringMatching(/^waiting for the xtables lock .* held by process \d+: sleep /));
    expect(said).toContainEqual(expect.stringMatching(/^the xtables lock was free after /));
    expect(said).not.toContainEqual(expect.stringMatching(/^rules could not be programmed/));
  });

  test.for(SUBJECTS.flatMap(subject => DAMAGES.map(damage => ({ ...subject, ...damage }))))(
    '$variant $family: $what',
    async ({ act, named, takesForeign = false, what: _, ...subject }) => {
      const restore = (input: string, ...args: string[]) =>
        lab.exec(subject.node, [toolsOf(subject.variant, subject.family).restore, ...args], { input });
      await restore(FOREIGN, '--noflush');
      const { lines: before } = await rules(subject);
      const logged = repairs(subject).length;
      await act((...args) => iptables(subject, ...args), restore);
      await expectRepaired(subject, takesForeign ? before.filter(line => !isForeign(line)) : before);
      // It is told once the whole sync is over.
      await eventually(() => expect(JSON.stringify(repairs(subject).slice(logged))).toContain(named));
      await removeForeign(subject);
    },
  );
});
