import { expect, it } from 'vitest';
import { differences, type OurRules } from '../../../src/take-over/differences.ts';
import type { KubeProxyRules } from '../../../src/take-over/kube-proxy-rules.ts';

const theirs: KubeProxyRules = {
  layout: 'iptables',
  services: new Set(['default/web:http/TCP', 'default/web:dns/UDP']),
  nodePortAddresses: 'all',
  hasLocalhostNodePorts: true,
  masqueradeBit: 14,
};
const ours: OurRules = { ...theirs, mode: 'iptables', masqueradeBit: 14 };

it('there are none where the mode and all that configuration decides are the same', () => {
  expect(differences(theirs, ours)).toEqual([]);
});

it('of the modes, each is a line', () => {
  const { masqueradeBit: _, ...unmarked } = ours;
  expect(differences(theirs, { ...unmarked, mode: 'nftables', hasLocalhostNodePorts: false })).toEqual([
    'NodePorts on 127.0.0.1: yes → no',
    'the bit of the mark for masquerading: 14 → none',
    'a port that a cluster IP does not have: left alone → refused',
    'an address of a ServiceCIDR that no Service has: left alone → dropped',
    'what the policy of FORWARD drops, of Services: accepted → dropped',
    'health check node ports where the policy of INPUT drops: accepted → dropped',
    'session affinity: a client that was remembered may choose anew',
  ]);
  const same = { ...theirs, layout: 'nftables', masqueradeBit: undefined } as const;
  expect(differences(same, { ...unmarked, mode: 'nftables' })).toEqual([
    'a forwarded packet that conntrack cannot place, unless conntrack is liberal: forwarded → dropped',
    'session affinity: a client that was remembered may choose anew',
  ]);
});

it('of Services, ten are named and the others counted', () => {
  const many = Array.from({ length: 2000 }, (_, n) => `old/s${String(n).padStart(4, '0')}:http/TCP`);
  const [line, ...others] = differences({ ...theirs, services: new Set([...theirs.services, ...many]) }, ours);
  expect(others).toEqual([]);
  expect(line).toMatch(
    /^Services that kube-proxy had and the cluster has not: old\/s0000:http\/TCP, .* and 1990 more$/,
  );
  expect(line!.length).toBeLessThan(400);
  expect(differences({ ...theirs, services: new Set() }, ours)).toEqual([
    'Services that the cluster has and kube-proxy had not: default/web:dns/UDP, default/web:http/TCP',
  ]);
});

it.each([
  [['10.0.0.5/32'], ['10.0.0.0/24'], []],
  [['10.0.0.5'], ['10.0.0.5/32'], []],
  [['fd00::5'], ['fd00::/64'], []],
  [[], [], []],
  ['all', ['10.0.0.5/32'], ['NodePorts are served on: every address of the node → 10.0.0.5/32']],
  [['10.0.0.5/32'], 'all', ['NodePorts are served on: 10.0.0.5/32 → every address of the node']],
  [
    ['10.0.0.5/32', '10.1.0.5/32'],
    ['10.0.0.0/24'],
    ['NodePorts are served on: 10.0.0.5/32, 10.1.0.5/32 → 10.0.0.0/24'],
  ],
  [[], ['10.0.0.0/24'], ['NodePorts are served on: no address → 10.0.0.0/24']],
] as const)('NodePorts at %j, and ours at %j', (before, after, lines) => {
  expect(differences({ ...theirs, nodePortAddresses: before }, { ...ours, nodePortAddresses: after })).toEqual(lines);
});
