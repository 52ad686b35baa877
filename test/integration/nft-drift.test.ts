/** What somebody else does to our nftables table is undone at once, whatever the sync period is, and logged; what he does elsewhere is no reason to write. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import {
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  eventually,
  labName,
  logLines,
  servicesPath,
} from './daemon-lab.ts';

const [nodeA] = nodes;
const FAMILIES = [
  { family: 'IPv4', table: 'ip', address: web.clusterIP },
  { family: 'IPv6', table: 'ip6', address: web.clusterIP6 },
] as const;
type Subject = (typeof FAMILIES)[number];

/** Arguments for nft, after the table's name where it says TABLE. */
const DAMAGES: readonly (readonly [what: string, args: (subject: Subject) => readonly string[], named: string])[] = [
  [
    'an element is deleted',
    ({ table, address }) => ['delete', 'element', table, 'kproxy-ts', 'services', `{ ${address} . tcp . 80 }`],
    'frontend/',
  ],
  [
    'an endpoint is deleted',
    ({ table, address }) => [
      'delete',
      'element',
      table,
      'kproxy-ts',
      'endpoints',
      `{ ${address} . tcp . 80 . 0x00000001 }`,
    ],
    'frontend/',
  ],
  [
    'an element is added',
    ({ table, address }) => ['add', 'element', table, 'kproxy-ts', 'services', `{ ${address} . udp . 9 : drop }`],
    'frontend/',
  ],
  ['a map is flushed', ({ table }) => ['flush', 'map', table, 'kproxy-ts', 'endpoints'], 'frontend/'],
  ['a rule is added', ({ table }) => ['insert', 'rule', table, 'kproxy-ts', 'dispatch', 'accept'], 'chain/dispatch'],
  [
    'a chain is flushed',
    ({ table }) => ['flush', 'chain', table, 'kproxy-ts', 'nat-prerouting'],
    'chain/nat-prerouting',
  ],
  [
    'a verdict is given that is none of ours',
    ({ table, address }) => ['add', 'element', table, 'kproxy-ts', 'services', `{ ${address} . tcp . 9 : continue }`],
    'strange/services',
  ],
  [
    'an element stands for all others',
    ({ table }) => ['add', 'element', table, 'kproxy-ts', 'refused', '{ * : drop }'],
    'strange/refused',
  ],
  [
    'an endpoint has a slot beyond all',
    ({ table, address }) => [
      'add',
      'element',
      table,
      'kproxy-ts',
      'endpoints',
      `{ ${address} . tcp . 80 . 0x7ffffff0 : ${address} . 9 }`,
    ],
    'strange/endpoints',
  ],
  ['the table is put to sleep', ({ table }) => ['add', 'table', table, 'kproxy-ts', '{ flags dormant; }'], 'table'],
  [
    'the policy of a chain is changed',
    ({ table }) => ['add', 'chain', table, 'kproxy-ts', 'filter-forward', '{ policy drop; }'],
    'chain/filter-forward',
  ],
  [
    'a chain hangs elsewhere',
    ({ table }) => [
      `delete chain ${table} kproxy-ts nat-postrouting;`,
      `add chain ${table} kproxy-ts nat-postrouting { type nat hook postrouting priority 50; }`,
    ],
    'chain/nat-postrouting',
  ],
  [
    'a chain is added at a hook',
    ({ table }) => ['add', 'chain', table, 'kproxy-ts', 'evil', '{ type filter hook input priority 0; policy drop; }'],
    'chain/evil',
  ],
  ['the table is deleted', ({ table }) => ['delete', 'table', table, 'kproxy-ts'], 'set/services'],
];

describeLab('drift of the nftables table', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: labName('nftd'), mode: 'nftables', pods: 2, daemons: false });
    await lab.startDaemon(nodeA.name);
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods, on: [nodeA.name] });
    if (lab.hasIPv6) await awaitUsed(lab, { service: 'default/web', pods: lab.pods, on: [nodeA.name], family: 'IPv6' });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** The table, its lines without order: that of elements is the kernel's. */
  async function contents(table: string): Promise<readonly string[]> {
    const { stdout } = await lab.exec(nodeA.name, ['nft', 'list', 'table', table, 'kproxy-ts']);
    return stdout
      .split(/[\n,]/)
      .map(line => line.replace(/^[\t ]*(elements = \{ )?|[ }]*$/g, ''))
      .toSorted();
  }

  const repairs = (family: string) =>
    logLines(lab, nodeA.name).filter(
      line => line.family === family && /changed by somebody else: repaired/.test(line.msg),
    );

  test.each(DAMAGES)('%s', async (_what, args, named) => {
    for (const subject of FAMILIES) {
      if (subject.family === 'IPv6' && !lab.hasIPv6) continue;
      const before = await contents(subject.table);
      const logged = repairs(subject.family).length;
      await lab.exec(nodeA.name, ['nft', ...args(subject)]);
      // The sync period is 30 s.
      await eventually(async () => expect(await contents(subject.table)).toEqual(before), 5000);
      await eventually(() => expect(JSON.stringify(repairs(subject.family).slice(logged))).toContain(named), 5000);
      const { failures } = await lab.probe(lab.pods[0]!.name, { address: subject.address, port: 80, count: 10 });
      expect(failures).toEqual([]);
    }
  });

  test('the whole ruleset is flushed', async () => {
    const here = FAMILIES.filter(({ family }) => family === 'IPv4' || lab.hasIPv6);
    const before = await Promise.all(here.map(({ table }) => contents(table)));
    const logged = here.map(({ family }) => repairs(family).length);
    await lab.exec(nodeA.name, ['nft', 'flush', 'ruleset']);
    await eventually(async () => {
      expect(await Promise.all(here.map(({ table }) => contents(table)))).toEqual(before);
      expect(here.map(({ family }, index) => repairs(family).length > logged[index]!)).not.toContain(false);
    }, 5000);
    const { failures } = await lab.probe(lab.pods[0]!.name, { address: web.clusterIP, port: 80, count: 10 });
    expect(failures).toEqual([]);
  });

  test('others’ tables, and our own changes, are no reason to read or write', async () => {
    const logged = logLines(lab, nodeA.name).length;
    for (const args of ['add table inet others', 'add chain inet others dispatch', 'delete table inet others']) {
      await lab.exec(nodeA.name, ['nft', args]);
    }
    const { pod } = await lab.addPod(nodeA.name);
    await awaitUsed(lab, { service: 'default/web', pods: [...lab.pods], on: [nodeA.name] });
    await lab.removePod(pod.name);
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods, on: [nodeA.name] });
    expect(logLines(lab, nodeA.name).slice(logged)).toEqual([]);
  });

  test('a client is remembered at an endpoint that is none', async () => {
    const spec = { sessionAffinity: 'ClientIP' };
    await createService(
      lab,
      { name: 'sticky', clusterIP: '10.96.7.99', ports: bothProtocols, spec },
      lab.pods.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/sticky', pods: lab.pods, on: [nodeA.name] });
    const nft = async (...args: string[]) => (await lab.exec(nodeA.name, ['nft', ...args])).stdout;
    const [, map = ''] = /map (affinity-\S+default\/sticky\S*) /.exec(await nft('list', 'maps', 'ip')) ?? [];
    await nft('add', 'element', 'ip', 'kproxy-ts', map, '{ 192.0.2.9 timeout 1h : 192.0.2.10 . 99 }');
    await eventually(
      async () => expect(await nft('list', 'map', 'ip', 'kproxy-ts', map)).not.toContain('192.0.2.9'),
      5000,
    );
    await lab.api.delete(`${servicesPath()}/sticky`);
  });
});
