import { describe, expect, test } from 'vitest';
import type { LocalDetection } from '../../../../src/config/configuration.ts';
import { parseConfiguration } from '../../../../src/config/load.ts';
import { listenAddresses, settingsOf } from '../../../../src/dns/host/settings.ts';
import type { Node } from '../../../../src/watch/objects.ts';

const dnsOf = (section: string) =>
  parseConfiguration(`apiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\ndns: ${section}\n`, 'file')
    .configuration.dns;

const NODE: Node = {
  name: 'node-a',
  uid: '',
  labels: {},
  podCIDRs: ['10.244.1.0/24'],
  addresses: [
    { type: 'Hostname', address: 'node-a' },
    { type: 'InternalIP', address: '192.0.2.11' },
    { type: 'InternalIP', address: '2001:db8::11' },
    { type: 'ExternalIP', address: '198.51.100.1' },
  ],
  taints: [],
  isDeleting: false,
};

const facts = (detectLocal: LocalDetection = { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] }) => ({
  node: NODE,
  detectLocal,
  networks: ['192.0.2.0/24'],
  served: [{ ip: '10.96.0.10', port: 53 }],
  servers: ['192.0.2.11', '198.51.100.12'],
  nameservers: [{ address: '192.0.2.53', port: 53 }],
});

describe('settings', () => {
  test('what is not said is what the node says', () => {
    const settings = settingsOf(dnsOf('{ enabled: true }'), facts());
    expect(settings.upstreams).toEqual([{ address: '192.0.2.53', port: 53 }]);
    expect(settings.selfIPs).toEqual(['192.0.2.11', '2001:db8::11']);
    expect(settings.clients).toEqual([
      '127.0.0.0/8',
      '::1/128',
      '10.244.0.0/16',
      '10.244.1.0/24',
      '192.0.2.0/24',
      '10.96.0.10/32',
      '192.0.2.11/32',
      '198.51.100.12/32',
    ]);
    expect(settings.fallthrough).toEqual(['in-addr.arpa', 'ip6.arpa']);
  });

  test('where nobody says what pods have, private addresses are answered', () => {
    const { clients } = settingsOf(dnsOf('{}'), facts({ mode: 'NodeCIDR' }));
    expect(clients).toContain('10.0.0.0/8');
    expect(clients).not.toContain('0.0.0.0/0');
  });

  test('what is said counts, none is none', () => {
    const dns = dnsOf('{ upstreams: [], clients: [10.1.0.0/16], selfIPs: [10.0.0.9], fallthrough: [] }');
    const settings = settingsOf(dns, facts());
    expect(settings).toMatchObject({ upstreams: [], clients: ['10.1.0.0/16'], selfIPs: ['10.0.0.9'], fallthrough: [] });
  });
});

describe('addresses', () => {
  test('are those that are named, and the Node’s', () => {
    const dns = dnsOf('{ listen: ["127.0.0.1:5300", "[fd00::1]:53", "node:5300"] }');
    expect(listenAddresses(dns, NODE)).toEqual([
      { address: '127.0.0.1', port: 5300 },
      { address: 'fd00::1', port: 53 },
      { address: '192.0.2.11', port: 5300 },
      { address: '2001:db8::11', port: 5300 },
    ]);
    expect(listenAddresses(dns, undefined)).toHaveLength(2);
  });

  test.each([
    ['{ listen: ["0.0.0.0:53"] }', 'dns.listen[0]: must be IP:port or node:port, of one address, is "0.0.0.0:53"'],
    ['{ listen: ["10.0.0.1"] }', 'dns.listen[0]: must be IP:port or node:port, of one address, is "10.0.0.1"'],
    ['{ upstreams: [dns.example.com] }', 'dns.upstreams[0]: must be IP or IP:port of a resolver, is "dns.example.com"'],
    ['{ listen: ["224.0.0.1:53"] }', 'dns.listen[0]: must be IP:port or node:port, of one address, is "224.0.0.1:53"'],
    ['{ upstreams: ["ff02::fb"] }', 'dns.upstreams[0]: must be IP or IP:port of a resolver, is "ff02::fb"'],
    ['{ zones: [] }', 'dns.zones: must name a zone at least'],
    ['{ namespaces: ["a.b"] }', 'dns.namespaces[0]: must be the name of a namespace, is "a.b"'],
    ['{ zones: ["."] }', 'dns.zones[0]: must be a zone such as cluster.local, is "."'],
    ['{ ttl: 3601 }', 'dns.ttl: must be between 0 and 3600, is 3601'],
    ['{ pods: all }', 'dns.pods: must be one of disabled, insecure, verified, is "all"'],
    ['{ service: kube-dns }', 'dns.service: must be namespace/name of a Service, is "kube-dns"'],
  ])('%s is refused by name', (section, message) => {
    expect(() => dnsOf(section)).toThrow(message);
  });

  test('what cannot be meant has a warning', () => {
    const warningsOf = (section: string) =>
      parseConfiguration(
        `apiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\ndns: ${section}\n`,
        'file',
      ).warnings.filter(line => !line.startsWith('clusterCIDR'));
    expect(warningsOf('{ enabled: true, service: "", listen: [] }')).toEqual([
      'names are answered nowhere: neither dns.listen nor dns.service',
    ]);
    expect(warningsOf('{ enabled: true, zones: [cluster.local, svc.cluster.local] }')).toEqual([
      'dns.zones: svc.cluster.local is inside another zone; each has names of its own, as svc.svc.cluster.local',
    ]);
    expect(warningsOf('{ enabled: true, fallthrough: [example.org] }')).toEqual([
      'dns.fallthrough: example.org is none of dns.zones, and has no effect',
    ]);
    expect(warningsOf('{ enabled: true }')).toEqual([]);
  });

  test('zones are in lower case, without the closing dot, each once', () => {
    expect(dnsOf('{ zones: [Cluster.Local., cluster.local] }').zones).toEqual(['cluster.local']);
  });
});
