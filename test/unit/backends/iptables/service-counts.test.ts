import { expect, it } from 'vitest';
import { countsIn } from '../../../../src/backends/iptables/service-counts.ts';

it('counters of entries are told by their comments, whoever the Service is', () => {
  const listing = `-N KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.80/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -c 12 720 -j KUBE-SVC-A
-A KUBE-SERVICES -d 192.0.2.1/32 -p udp -m comment --comment "kube-system/dns loadbalancer IP" -m udp --dport 53 -c 3 180 -j KUBE-FW-A
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" -m addrtype --dst-type LOCAL -c 9 9 -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p sctp -m comment --comment default/web -m sctp --dport 30080 -c 2 120 -j KUBE-EXT-A
-A KUBE-NODEPORTS -p tcp -m comment --comment "default/web:http health check node port" -m tcp --dport 31000 -c 1 60 -j ACCEPT
-A KUBE-PROXY-FIREWALL -d 192.0.2.1/32 -p udp -m comment --comment "kube-system/dns traffic not accepted by KUBE-FW-A" -m udp --dport 53 -c 4 240 -j DROP
-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "default/web:http has no local endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -c 5 300 -j DROP
`;
  const web = { namespace: 'default', service: 'web', port: 'http', protocol: 'TCP' };
  const dns = { namespace: 'kube-system', service: 'dns', port: '', protocol: 'UDP' };
  expect([...countsIn(listing)]).toEqual([
    { ...web, kind: 'connections', what: 'clusterIP', count: 12 },
    { ...dns, kind: 'connections', what: 'loadBalancerIP', count: 3 },
    { ...web, port: '', protocol: 'SCTP', kind: 'connections', what: 'nodePort', count: 2 },
    { ...dns, kind: 'refused', what: 'source ranges', count: 4 },
    { ...web, kind: 'refused', what: 'no local endpoints', count: 5 },
  ]);
});
