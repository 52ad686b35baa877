import { describe, expect, it } from 'vitest';
import { createIptablesBackend } from '../../../../src/backends/iptables/backend.ts';
import { byKey, chain, entry } from '../../../../src/backends/iptables/objects.ts';
import { packetsIn, readPacketCounts } from '../../../../src/backends/iptables/packet-counts.ts';
import { countRules, RuleCounter } from '../../../../src/backends/iptables/rule-counts.ts';
import { planShared } from '../../../../src/backends/iptables/shared-rules.ts';
import { toolsOf } from '../../../../src/backends/iptables/tools.ts';
import { emptyModel, updateModel } from '../../../../src/endpoints/model.ts';
import { ExecError } from '../../../../src/linux/exec.ts';
import { FakeIptables } from '../../../fakes/iptables.ts';
import { IPTABLES_OPTIONS, service, slice, sliceEndpoint, snapshot } from '../../../fakes/objects.ts';

const numbers = [...Array(10).keys()];

/** So many Services with so many endpoints each. */
function planOf(services: number, endpoints: number) {
  const objects = numbers.slice(0, services).map(i => service({ name: `s${i}`, clusterIPs: [`10.96.0.${i + 1}`] }));
  const slices = objects.map(({ name }, i) =>
    slice({
      name: `${name}-1`,
      serviceName: name,
      endpoints: numbers.slice(0, endpoints).map(j => sliceEndpoint(`10.244.${i}.${j + 1}`)),
    }),
  );
  const facts = { name: 'node-a', zone: '' };
  const snap = snapshot(objects, slices);
  const model = updateModel(emptyModel('IPv4', facts), snap, snap.services.keys(), facts);
  const backend = createIptablesBackend(() => IPTABLES_OPTIONS, new FakeIptables().io);
  return [backend.planShared(model), ...[...model.routes.values()].map(route => backend.planRoute(route))];
}

describe('countRules', () => {
  it("counts a nat table as kube-proxy's own tests do: 5 + services · (2 + 3 · endpoints)", () => {
    for (const [services, endpoints] of [
      [0, 0],
      [1, 1],
      [10, 10],
    ] as const) {
      const objects = planOf(services, endpoints).flatMap(part => [...part.values()]);
      expect(countRules(objects).nat).toBe(5 + services * (2 + 3 * endpoints));
    }
  });

  it('leaves out the jumps from built-in chains, and empty chains', () => {
    const objects = [
      entry('nat', 'PREROUTING', '-j KUBE-SERVICES'),
      chain('filter', 'KUBE-FORWARD', []),
      chain('filter', 'KUBE-X', ['-j DROP', '-j ACCEPT']),
    ];
    expect(countRules(objects)).toEqual({ filter: 2, nat: 0 });
  });
});

it('RuleCounter tells what the last sync wrote, and all that is there', async () => {
  const counter = new RuleCounter();
  const backend = counter.observe(createIptablesBackend(() => IPTABLES_OPTIONS, new FakeIptables().io));
  const nothing = { updated: new Map(), deleted: new Map() };
  const first = byKey([chain('nat', 'KUBE-SVC-AAAAAAAAAAAAAAAA', ['-j RETURN', '-j RETURN'])]);
  counter.begin();
  const { plan } = await backend.apply({ ...nothing, created: first }, new Map());
  expect([counter.written, counter.total(plan)]).toEqual([
    { filter: 0, nat: 2 },
    { filter: 0, nat: 2 },
  ]);
  counter.begin();
  const second = byKey([chain('nat', 'KUBE-SVC-BBBBBBBBBBBBBBBB', ['-j RETURN'])]);
  const after = await backend.apply({ ...nothing, created: second }, plan);
  expect([counter.written, counter.total(after.plan)]).toEqual([
    { filter: 0, nat: 1 },
    { filter: 0, nat: 3 },
  ]);
  counter.begin();
  expect(counter.written).toEqual({ filter: 0, nat: 0 });
});

describe('readPacketCounts', () => {
  const tools = toolsOf('nft', 'IPv4');
  const listing = [
    '-N KUBE-FORWARD',
    '-A KUBE-FORWARD -m conntrack --ctstate INVALID -c 12 720 -j DROP',
    '-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -c 99 9900 -j ACCEPT',
  ].join('\n');
  const shared = () => planShared(IPTABLES_OPTIONS).values();

  it('reads one chain for the rule of what conntrack calls invalid', async () => {
    const asked: string[] = [];
    const run = async (file: string, args: readonly string[] = []) => {
      asked.push([file, ...args].join(' '));
      return { stdout: listing, stderr: '' };
    };
    expect(await readPacketCounts(shared(), { tools, run })).toEqual({ invalidDropped: 12 });
    expect(asked).toEqual(['iptables-nft -w 1 -t filter -v -S KUBE-FORWARD']);
  });

  it('asks for nothing when no such rule is planned, and for NodePorts on loopback when they are served', async () => {
    const counter = '-A KUBE-POSTROUTING -s 127.0.0.0/8 -m comment --comment "kubernetes localhost nodeports"';
    const run = async (_: string, args: readonly string[] = []) => ({
      stdout: args.includes('nat') ? `${counter} -m conntrack --ctstate DNAT -c 5 300\n` : listing,
      stderr: '',
    });
    expect(await readPacketCounts([], { tools, run })).toEqual({});
    const options = { ...IPTABLES_OPTIONS, hasLocalhostNodePorts: true };
    const counts = { invalidDropped: 12, localhostNodePorts: 5 };
    expect(await readPacketCounts(planShared(options).values(), { tools, run })).toEqual(counts);
  });

  it('says nothing when the tool fails', async () => {
    const failure = { exitCode: 4, stdout: '', stderr: '', isNotFound: false, isTimeout: false, cause: undefined };
    const run = () => Promise.reject(new ExecError('iptables-nft -S', failure));
    expect(await readPacketCounts(shared(), { tools, run })).toBeUndefined();
  });

  it('does not take one rule for another', () => {
    expect(packetsIn(listing, /--ctstate INVALID\b.*-j DROP$/)).toBe(12);
    expect(packetsIn(listing, /--ctstate NEW/)).toBe(0);
  });
});
