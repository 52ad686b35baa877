import { describe, expect, it } from 'vitest';
import { IPTABLES_DUMP } from '../../../src/backends/iptables/dump-format.ts';
import {
  clusterPolicyChain,
  endpointChain,
  externalChain,
  localPolicyChain,
} from '../../../src/backends/iptables/names.ts';
import { kernelFamily } from '../../../src/dump/from-kernel.ts';
import { service, slice, sliceEndpoint } from '../../fakes/objects.ts';
import { CLUSTER, dumpOf, kernelFrom, kernelOf, modelOf } from './fixtures.ts';

const servicesOf = (kernel: ReturnType<typeof kernelOf>) =>
  kernelFamily('IPv4', new Map(kernel), IPTABLES_DUMP).services;

describe('Services from rules alone', () => {
  it('tells what the daemon would tell, as far as rules know', async () => {
    const [known] = (await dumpOf(CLUSTER, kernelOf(CLUSTER))).families;
    const found = servicesOf(kernelOf(CLUSTER));
    expect(
      found.map(({ namespace, name, port, protocol, addresses }) => [namespace, name, port, protocol, addresses]),
    ).toEqual(
      known?.services.map(({ namespace, name, port, protocol, addresses }) => [
        namespace,
        name,
        port,
        protocol,
        addresses,
      ]),
    );
    expect(found[1]).toMatchObject({
      internalTrafficPolicy: 'Cluster',
      externalTrafficPolicy: 'Local',
      endpoints: [
        { ip: '10.244.1.2', port: 8080, ready: null, local: true, used: true },
        { ip: '10.244.2.2', port: 8080, ready: null, local: null, used: true },
      ],
      state: 'unchecked',
    });
    expect(found[0]).toMatchObject({ internalTrafficPolicy: null, externalTrafficPolicy: null, endpoints: [] });
    expect(found.map(({ rules }) => rules.length)).toEqual(known?.services.map(({ rules }) => rules.length));
  });

  it('reads policy Local from chains and from refusals', () => {
    const local = { internalTrafficPolicy: 'Local', externalTrafficPolicy: 'Local' } as const;
    const ports = [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 } as const];
    const here = [sliceEndpoint('10.244.1.2', { nodeName: 'node-a' })];
    for (const endpoints of [here, slice().endpoints]) {
      const model = modelOf([service({ ports, ...local })], [slice({ endpoints })]);
      expect(servicesOf(kernelOf(model))[0]).toMatchObject(local);
    }
    const cluster = modelOf([service({ ports })], [slice()]);
    expect(servicesOf(kernelOf(cluster))[0]).toMatchObject({
      internalTrafficPolicy: 'Cluster',
      externalTrafficPolicy: 'Cluster',
    });
  });

  it('finds the owner of chains that no entry leads to any more', () => {
    const kernel = kernelOf(CLUSTER).filter(object => object.kind !== 'rule');
    const [web, ...others] = servicesOf(kernel);
    expect(others).toEqual([]);
    expect(web).toMatchObject({ name: 'web', port: 'http', protocol: 'TCP', addresses: [] });
    expect(web?.endpoints.map(({ ip }) => ip)).toEqual(['10.244.1.2', '10.244.2.2']);
  });

  it('shows an endpoint whose DNAT went as not used', () => {
    const chain = endpointChain('default/web:http', 'tcp', '10.244.2.2:8080');
    const kernel = kernelOf(CLUSTER).set(chain, { kind: 'chain', table: 'nat', name: chain.slice(4), rules: '' });
    expect(servicesOf(kernel)[1]?.endpoints).toMatchObject([
      { ip: '10.244.1.2', used: true },
      { ip: '10.244.2.2', port: 8080, used: false },
    ]);
  });

  it('misses the jumps from the built-in chains, without which no rule is reached', () => {
    const kernel = kernelOf(CLUSTER).filter(object => object.kind !== 'rule' || object.chain !== 'PREROUTING');
    const { shared } = kernelFamily('IPv4', new Map(kernel), IPTABLES_DUMP);
    expect(shared.state).toBe('differs');
    expect(shared.rules.filter(({ state }) => state === 'missing')).toMatchObject([
      { table: 'nat', chain: 'PREROUTING' },
    ]);
  });

  it('an empty kernel has nothing, and misses nothing', () => {
    expect(kernelFamily('IPv4', new Map(kernelOf(CLUSTER).clear()), IPTABLES_DUMP)).toEqual({
      family: 'IPv4',
      comparison: 'none',
      services: [],
      shared: { rules: [], state: 'unchecked' },
    });
  });
});

describe("kube-proxy's rules", () => {
  const text = 'default/web:http';
  const [svc, svl, ext] = [clusterPolicyChain, localPolicyChain, externalChain].map(name => name(text, 'tcp'));
  const firewall = ext?.replace('KUBE-EXT-', 'KUBE-FW-');
  // In large-cluster mode: no comments inside the chains of a Service.
  const nat = `*nat
:PREROUTING ACCEPT [0:0]
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:${svc} - [0:0]
:${svl} - [0:0]
:${ext} - [0:0]
:${firewall} - [0:0]
:KUBE-SEP-AAAAAAAAAAAAAAAA - [0:0]
:KUBE-SEP-BBBBBBBBBBBBBBBB - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment "${text}" -m tcp --dport 31000 -m nfacct --nfacct-name  localhost_nps_accepted_pkts -j ${ext}
-A KUBE-NODEPORTS -p tcp -m comment --comment "${text}" -m tcp --dport 31000 -j ${ext}
-A KUBE-SERVICES -d 172.30.0.41/32 -p tcp -m comment --comment "${text} cluster IP" -m tcp --dport 80 -j ${svc}
-A KUBE-SERVICES -d 1.2.3.4/32 -p tcp -m comment --comment "${text} loadbalancer IP" -m tcp --dport 80 -j ${firewall}
-A KUBE-SERVICES ! -d 127.0.0.0/8 -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A ${svc} ! -s 10.0.0.0/8 -d 172.30.0.41/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A ${svc} -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-AAAAAAAAAAAAAAAA --mask 255.255.255.255 --rsource -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A ${svc} -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-AAAAAAAAAAAAAAAA
-A ${svc} -j KUBE-SEP-BBBBBBBBBBBBBBBB
-A ${svl} -j KUBE-SEP-BBBBBBBBBBBBBBBB
-A ${ext} -s 10.0.0.0/8 -j ${svc}
-A ${ext} -j ${svl}
-A KUBE-SEP-AAAAAAAAAAAAAAAA -s 10.180.0.1/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -m recent --set --name KUBE-SEP-AAAAAAAAAAAAAAAA --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.180.0.1:80
-A KUBE-SEP-BBBBBBBBBBBBBBBB -p tcp -m tcp -j DNAT --to-destination 10.180.0.2:80
COMMIT
`;
  const filter = `*filter
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-SERVICES -d 172.30.0.42/32 -p udp -m comment --comment "kube-system/dns:dns has no endpoints" -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable
-A KUBE-NODEPORTS -p tcp -m comment --comment "${text} health check node port" -m tcp --dport 32000 -j ACCEPT
-A KUBE-PROXY-FIREWALL -d 1.2.3.4/32 -p tcp -m comment --comment "${text} traffic not accepted by ${firewall}" -m tcp --dport 80 -j DROP
-A KUBE-EXTERNAL-SERVICES -p udp -m comment --comment "kube-system/dns:dns has no endpoints" -m addrtype --dst-type LOCAL -m udp --dport 31053 -j REJECT --reject-with icmp-port-unreachable
COMMIT
`;
  const family = kernelFamily('IPv4', new Map(kernelFrom({ nat, filter })), IPTABLES_DUMP);

  it('are understood, comments or not', () => {
    expect(family.services).toMatchObject([
      {
        namespace: 'default',
        name: 'web',
        port: 'http',
        addresses: [
          { kind: 'clusterIP', ip: '172.30.0.41', port: 80 },
          { kind: 'nodePort', port: 31000 },
          { kind: 'loadBalancerIP', ip: '1.2.3.4', port: 80 },
        ],
        internalTrafficPolicy: 'Cluster',
        externalTrafficPolicy: 'Local',
        endpoints: [
          { ip: '10.180.0.1', port: 80, local: null, used: true },
          { ip: '10.180.0.2', port: 80, local: true, used: true },
        ],
      },
      {
        namespace: 'kube-system',
        name: 'dns',
        protocol: 'UDP',
        addresses: [
          { kind: 'clusterIP', ip: '172.30.0.42', port: 53 },
          { kind: 'nodePort', port: 31053 },
        ],
        endpoints: [],
      },
    ]);
  });

  it('leave nothing of the Services among the shared, whose jumps are all there', () => {
    expect(family.shared.rules.filter(({ state }) => state === 'missing')).toEqual([]);
    expect(family.shared.rules.filter(({ chain }) => /^KUBE-(?:SVC|SVL|EXT|FW|SEP)-/.test(chain))).toEqual([]);
  });
});
