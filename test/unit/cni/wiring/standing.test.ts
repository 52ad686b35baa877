import { describe, expect, test } from 'vitest';
import type { LinkSpec } from '../../../../src/cni/wiring/specs.ts';
import { faultsIn, type Standing } from '../../../../src/cni/wiring/standing.ts';
import type { Link } from '../../../../src/rtnetlink/links.ts';

const link = (part: Partial<Link>) => ({ kind: 'veth', isUp: true, alias: '', master: 0, ...part }) as Link;
const bridge = link({ index: 5, name: 'cni0', kind: 'bridge' });
const port = link({ index: 7, name: 'veth1', alias: 'ours', master: 5 });
const spec = (part: Partial<LinkSpec> = {}) =>
  ({
    hostLink: 'veth1',
    alias: 'ours',
    bridge: { name: 'cni0', gateways: ['10.88.0.1/24'], forceAddress: false, promisc: false, vlanFiltering: false },
    ...part,
  }) as LinkSpec;
const addresses = new Map([[5, new Set(['10.88.0.1/24'])]]);
const standing = (part: Partial<Standing> = {}): Standing => ({
  links: [bridge, port],
  addresses,
  off: new Set(),
  ...part,
});
const problemsOf = (found: Standing, wanted = spec()) => faultsIn(found, [wanted]).map(({ problem }) => problem);

describe('how bridges and ports stand', () => {
  test('nothing is wrong with what is as it was made, nor with links that are gone, or are of others', () => {
    expect(problemsOf(standing())).toEqual([]);
    expect(problemsOf(standing({ links: [] }))).toEqual([]);
    expect(problemsOf(standing({ links: [{ ...port, alias: "somebody's" }] }))).toEqual([]);
  });

  test.each<[string, Partial<Standing>, readonly string[]]>([
    [
      'a bridge that is another kind of link',
      { links: [{ ...bridge, kind: 'dummy' }, port] },
      ['the bridge cni0 is missing'],
    ],
    ['a bridge that is down', { links: [{ ...bridge, isUp: false }, port] }, ['the bridge cni0 is down']],
    [
      'a port of another bridge',
      { links: [bridge, { ...port, master: 9 }] },
      ["the host's end veth1 is not on the bridge cni0"],
    ],
    ['a port that is down', { links: [bridge, { ...port, isUp: false }] }, ["the host's end veth1 is down"]],
    ['no address', { addresses: new Map() }, ["cni0 lacks the gateway's address 10.88.0.1/24"]],
    ['no forwarding', { off: new Set(['ipv4/ip_forward']) }, ['net.ipv4.ip_forward is off']],
    ['no forwarding of another family', { off: new Set(['ipv6/conf/all/forwarding']) }, []],
  ])('%s', (_, found, problems) => {
    expect(problemsOf(standing(found))).toEqual(problems);
  });

  test('with a VLAN the gateway is on its link; where VLANs only pass there is none', () => {
    const tagged = spec({ vlan: 7 });
    expect(problemsOf(standing(), tagged)).toEqual(["cni0.7 lacks the gateway's address 10.88.0.1/24"]);
    const gateway = link({ index: 9, name: 'cni0.7' });
    const there = { links: [bridge, port, gateway], addresses: new Map([[9, new Set(['10.88.0.1/24'])]]) };
    expect(problemsOf(standing(there), tagged)).toEqual([]);
    expect(problemsOf(standing({ addresses: new Map() }), spec({ vlanTrunk: [{ id: 7 }] }))).toEqual([]);
  });
});
