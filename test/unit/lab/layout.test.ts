import { describe, expect, test } from 'vitest';
import {
  checkLabName,
  clientLinks,
  controlLinks,
  fixedMembers,
  namespaceOf,
  namespacePrefix,
  nodeLayout,
  nodeLinks,
  nodes,
  podAddress,
  podAddress6,
  podLinks,
  sysctls,
} from '../../../src/lab/layout.ts';
import {
  kubeconfig,
  nodeObject,
  podObject,
  podStatus,
  proxyConfiguration,
  webService,
} from '../../../src/lab/manifests.ts';

const both = { hasIPv6: true };
const onlyIPv4 = { hasIPv6: false };

describe('lab names', () => {
  test('a name that could be the start of another lab’s namespaces is refused', () => {
    expect(() => checkLabName('a-b')).toThrow("lab name 'a-b'");
    for (const name of ['', 'A', 'a/b', '..', 'x'.repeat(25)]) expect(() => checkLabName(name)).toThrow();
    expect(checkLabName('lab_2')).toBe('lab_2');
  });

  test('no lab’s prefix covers a namespace of another lab', () => {
    const others = ['a', 'ab', 'a_b', 'lab'];
    for (const lab of others) {
      for (const other of others.filter(name => name !== lab)) {
        for (const member of fixedMembers)
          expect(namespaceOf(other, member).startsWith(namespacePrefix(lab))).toBe(false);
      }
    }
  });
});

describe('addresses', () => {
  test('pods of a node count up from the gateway and end with the range', () => {
    const [node] = nodes;
    expect([1, 2, 253].map(nth => podAddress(node, nth))).toEqual(['10.244.1.2', '10.244.1.3', '10.244.1.254']);
    expect(() => podAddress(node, 254)).toThrow('no address left');
    expect(podAddress6(node, 11)).toBe('fd00:10:244:1::12');
  });

  test('an unknown node is refused with the known ones', () => {
    expect(() => nodeLayout('node-z')).toThrow('node-a, node-b');
  });
});

describe('links', () => {
  test('every link is made inside the lab: both ends name a namespace of it or the one it is run in', () => {
    const pod = { name: 'web-1', ip: '10.244.1.2', ip6: '' };
    const lines = [...controlLinks('x', both), ...nodeLinks(nodes[0], both), ...podLinks('x', nodes[0], pod).node];
    for (const line of lines.filter(line => line.includes('veth'))) expect(line).toMatch(/ netns kpx-x-[a-z0-9-]+$/);
  });

  test('without IPv6 no line and no manifest has an address of it; with it every address is usable at once', () => {
    const pod = { name: 'web-1', node: 'node-a', ip: '10.244.1.2', ip6: '' };
    const linesOf = (options: { hasIPv6: boolean }) => [
      ...controlLinks('x', options),
      ...nodes.flatMap(node => nodeLinks(node, options)),
      ...clientLinks(options),
    ];
    const { node, pod: inPod } = podLinks('x', nodes[0], pod);
    expect([...linesOf(onlyIPv4), ...node, ...inPod].filter(line => /fd00|::/.test(line))).toEqual([]);
    const objects = [...nodes.map(node => nodeObject(node, onlyIPv4)), webService(onlyIPv4), podStatus(pod)];
    expect(JSON.stringify(objects)).not.toMatch(/fd00|"IPv6"|""/);
    const addresses = linesOf(both).filter(line => line.startsWith('addr add fd00'));
    expect(addresses).toHaveLength(6);
    for (const line of addresses) expect(line).toMatch(/ nodad$/);
    expect(sysctls('web-1')).toMatchObject({ 'net.ipv6.conf.default.accept_dad': 0 });
  });

  test('bridges have a fixed MAC address, so that neighbours stay right as ports come and go', () => {
    const bridges = [...controlLinks('x', both), ...nodes.flatMap(node => nodeLinks(node, both))].filter(line =>
      line.includes('type bridge'),
    );
    expect(bridges).toHaveLength(3);
    expect(new Set(bridges.map(line => /address (\S+)/.exec(line)?.[1])).size).toBe(3);
  });

  test('a pod reaches everything, its neighbours too, through the gateway', () => {
    const { node, pod } = podLinks('x', nodes[1], {
      name: 'web-2',
      ip: '10.244.2.2',
      ip6: 'fd00:10:244:2::2',
    });
    expect(pod).toContain('addr add 10.244.2.2/32 dev eth0');
    expect(pod).toContain('route add default via 10.244.2.1');
    expect(pod).toContain('addr add fd00:10:244:2::2/128 dev eth0 nodad');
    expect(pod).toContain('route add default via fd00:10:244:2::1');
    expect(node).toContain('link set web-2 type bridge_slave hairpin on');
  });
});

describe('manifests', () => {
  test('the Service selects the pods and names the port they listen on', () => {
    const spec = webService(both).spec as { selector: object; ports: { targetPort: number }[] };
    const pod = podObject({ name: 'web-1', node: 'node-a', ip: '10.244.1.2', ip6: '' });
    expect(pod.metadata.labels).toMatchObject(spec.selector);
    expect(spec.ports.map(({ targetPort }) => targetPort)).toEqual([8080, 8080]);
  });

  test('the daemon’s configuration and the kubeconfig point at this lab', () => {
    expect(kubeconfig()).toContain("server: 'http://192.168.77.1:6443'");
    const of = { node: nodes[0], mode: 'iptables', kubeconfigFile: '/x/kubeconfig', ...both };
    const text = proxyConfiguration({ ...of, hasDns: false, cniDirectory: '' });
    expect(text).toContain('kubeconfig: /x/kubeconfig\n');
    expect(text).toContain('hostnameOverride: node-a\nmode: "iptables"\n');
    expect(text).not.toContain('dns:');
    expect(proxyConfiguration({ ...of, hasDns: true, cniDirectory: '' })).toContain('service: kube-system/kube-dns\n');
  });
});
