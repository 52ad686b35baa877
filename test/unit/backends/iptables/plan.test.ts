import { describe, expect, it } from 'vitest';
import { diff } from '../../../../src/backends/diff.ts';
import { clusterPolicyChain, endpointChain, externalChain } from '../../../../src/backends/iptables/names.ts';
import { type IptablesObject, objectKey } from '../../../../src/backends/iptables/objects.ts';
import { planRoute } from '../../../../src/backends/iptables/plan.ts';
import { type IptablesOptions, quote, rule } from '../../../../src/backends/iptables/rules.ts';
import { planShared } from '../../../../src/backends/iptables/shared-rules.ts';
import { categorize } from '../../../../src/endpoints/categorize.ts';
import type { Endpoint, ServicePort } from '../../../../src/endpoints/types.ts';
import { endpoint, IPTABLES_OPTIONS, IPTABLES_OPTIONS_V6, servicePort } from '../../../fakes/objects.ts';

const node = { name: 'node-a', zone: '' };

function plan(fields: Partial<ServicePort>, endpoints: readonly Endpoint[], options = {}) {
  const port = servicePort(fields);
  const route = { servicePort: port, endpoints, ...categorize(endpoints, port, node) };
  return [...planRoute(route, { ...IPTABLES_OPTIONS, ...options }).values()];
}

/** The text of every rule as iptables-save would print it. */
function lines(objects: Iterable<IptablesObject>, table: 'filter' | 'nat'): string[] {
  return [...objects].flatMap(object => {
    if (object.table !== table || object.kind === 'dispatch') return [];
    if (object.kind === 'rule') return [`-A ${object.chain} ${object.rule}`];
    return object.rules.split('\n').map(text => `-A ${object.name} ${text}`);
  });
}

describe('names', () => {
  it("are kube-proxy's, so that either program can adopt the other's chains", () => {
    expect(clusterPolicyChain('ns1/svc1:p80', 'TCP')).toBe('KUBE-SVC-XPGD46QRK7WJZT7O');
    expect(endpointChain('ns1/svc1:p80', 'TCP', '10.180.0.1:80')).toBe('KUBE-SEP-SXIVWICOYRO3J4NJ');
  });

  it('differ by protocol and stay within 28 characters', () => {
    const text = `${'n'.repeat(63)}/${'s'.repeat(63)}:${'p'.repeat(15)}`;
    expect(clusterPolicyChain(text, 'TCP')).not.toBe(clusterPolicyChain(text, 'UDP'));
    expect(externalChain(text, 'TCP').length).toBeLessThanOrEqual(28);
  });
});

describe('rule', () => {
  it('quotes as iptables-save does', () => {
    expect(quote('plain-word_1')).toBe('plain-word_1');
    expect(quote('default/web:http')).toBe('"default/web:http"');
    expect(quote('a "b" c')).toBe('"a \\"b\\" c"');
  });

  it('cuts a comment to what the kernel keeps', () => {
    const text = rule({ comment: 'x'.repeat(400), jump: 'RETURN' });
    expect(text).toBe(`-m comment --comment ${'x'.repeat(255)} -j RETURN`);
  });
});

describe('planRoute', () => {
  const two = [endpoint('10.244.1.2'), endpoint('10.244.2.2', { isLocal: true })];

  it('has 2 rules a Service and 3 an endpoint in nat, beside 5 shared ones', () => {
    const ten = Array.from({ length: 10 }, (_, i) => endpoint(`10.244.1.${i + 1}`));
    const shared = lines(planShared(IPTABLES_OPTIONS).values(), 'nat').filter(line => line.startsWith('-A KUBE-'));
    expect(shared).toHaveLength(5);
    expect(lines(plan({}, ten), 'nat')).toHaveLength(2 + 3 * 10);
  });

  it('chooses each of n endpoints with the same probability', () => {
    const three = ['10.244.1.1', '10.244.1.2', '10.244.1.3'].map(ip => endpoint(ip));
    const found = lines(plan({}, three), 'nat')
      .join('\n')
      .match(/--probability \S+/g);
    expect(found).toEqual(['--probability 0.33333333349', '--probability 0.50000000000']);
  });

  it('masquerades clients that are not pods, or all with masqueradeAll, or none without a detector', () => {
    const masq = (options: object) =>
      lines(plan({}, two, options), 'nat').filter(line => /cluster IP.*MARK-MASQ/.test(line));
    expect(masq({})[0]).toContain('! -s 10.244.0.0/16 -d 10.96.0.10/32');
    expect(masq({ masqueradeAll: true })[0]).toMatch(/^-A KUBE-SVC-\S+ -d /);
    expect(masq({ localDetector: { kind: 'none' } })).toEqual([]);
    expect(masq({ localDetector: { kind: 'interface', pattern: 'veth+' } })[0]).toContain('! -i veth+');
  });

  it('refuses without endpoints, for cluster IP and node port, and sends nothing to nat', () => {
    const objects = plan({ nodePort: 30080 }, []);
    expect(lines(objects, 'nat')).toEqual([]);
    expect(lines(objects, 'filter')).toEqual([
      '-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http has no endpoints" -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable',
      '-A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment "default/web:http has no endpoints" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -j REJECT --reject-with icmp-port-unreachable',
    ]);
  });

  it('drops for internal policy Local when every endpoint is elsewhere', () => {
    const objects = plan({ isInternalLocal: true }, [endpoint('10.244.1.2')]);
    expect(lines(objects, 'filter')).toEqual([
      '-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http has no local endpoints" -m tcp --dport 80 -j DROP',
    ]);
    expect(lines(objects, 'nat').filter(line => line.includes('KUBE-SERVICES'))).toEqual([]);
  });

  it('lets pods and the node use every endpoint under external policy Local, outsiders only the local ones', () => {
    const objects = plan({ isExternalLocal: true, nodePort: 30080 }, two);
    const external = lines(objects, 'nat').filter(line => line.startsWith('-A KUBE-EXT-'));
    expect(external.map(line => line.slice(line.indexOf(' ', 3) + 1).replace(/-(SVC|SVL)-\S+/, '-$1'))).toEqual([
      '-s 10.244.0.0/16 -m comment --comment "pod traffic for default/web:http external destinations" -j KUBE-SVC',
      '-m comment --comment "masquerade LOCAL traffic for default/web:http external destinations" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ',
      '-m comment --comment "route LOCAL traffic for default/web:http external destinations" -m addrtype --src-type LOCAL -j KUBE-SVC',
      '-j KUBE-SVL',
    ]);
  });

  it('has one entry for an address that is both external IP and load balancer VIP', () => {
    const both = plan({ externalIPs: ['192.0.2.1'], loadBalancerVIPs: ['192.0.2.1'] }, two);
    expect(lines(both, 'nat').filter(line => line.includes('192.0.2.1'))).toHaveLength(1);
  });

  const ranges = { loadBalancerVIPs: ['192.0.2.1'], loadBalancerSourceRanges: ['203.0.113.0/24'] };
  const ofChain = (objects: Iterable<IptablesObject>, table: 'filter' | 'nat', chain: string) =>
    lines(objects, table)
      .filter(line => line.startsWith(`-A ${chain}`))
      .map(line => line.slice(line.indexOf(' ', 3) + 1).replaceAll(/-(EXT|FW)-[A-Z2-7]{16}/g, '-$1'));

  it('hands on whom the source ranges allow, and drops the rest', () => {
    const objects = plan({ ...ranges, externalIPs: ['192.0.2.9'] }, two);
    expect(ofChain(objects, 'nat', 'KUBE-FW-')).toEqual([
      '-s 203.0.113.0/24 -m comment --comment "default/web:http loadbalancer IP" -j KUBE-EXT',
    ]);
    expect(ofChain(objects, 'nat', 'KUBE-SERVICES').slice(1)).toEqual([
      expect.stringMatching(/-d 192\.0\.2\.9\/32 .* -j KUBE-EXT$/),
      expect.stringMatching(/-d 192\.0\.2\.1\/32 .* -j KUBE-FW$/),
    ]);
    expect(ofChain(objects, 'filter', 'KUBE-PROXY-FIREWALL')).toEqual([
      '-d 192.0.2.1/32 -p tcp -m comment --comment "default/web:http traffic not accepted by KUBE-FW" -m tcp --dport 80 -j DROP',
    ]);
  });

  it('lets the node in by a load balancer address of its own when a range has the node', () => {
    const nodeIP = '203.0.113.7';
    expect(ofChain(plan(ranges, two, { nodeIP }), 'nat', 'KUBE-FW-').map(line => line.slice(0, 18))).toEqual([
      '-s 203.0.113.0/24 ',
      '-s 192.0.2.1/32 -m',
    ]);
  });

  it('keeps nobody out for a range that holds everybody, and refuses everybody without endpoints', () => {
    const open = plan({ ...ranges, loadBalancerSourceRanges: ['203.0.113.0/24', '0.0.0.0/0'] }, two);
    expect(lines(open, 'nat').concat(lines(open, 'filter')).join()).not.toContain('KUBE-FW-');
    expect(lines(plan(ranges, []), 'filter').map(line => line.replace(/^.* -j /, ''))).toEqual([
      'REJECT --reject-with icmp-port-unreachable',
      'REJECT --reject-with icmp-port-unreachable',
    ]);
  });

  it('filters NodePorts where the annotation asks for it, and nothing else', () => {
    const objects = plan(
      { nodePort: 30080, nodePortSourceRanges: ['203.0.113.0/24'], externalIPs: ['192.0.2.9'] },
      two,
    );
    expect(ofChain(objects, 'nat', 'KUBE-NODEPORTS')).toEqual([expect.stringMatching(/--dport 30080 -j KUBE-FW$/)]);
    expect(ofChain(objects, 'nat', 'KUBE-FW-')).toEqual([
      expect.stringMatching(/^-s 203\.0\.113\.0\/24 .*-j KUBE-EXT$/),
    ]);
    expect(ofChain(objects, 'filter', 'KUBE-PROXY-FIREWALL')).toEqual([
      '! -d 127.0.0.0/8 -p tcp -m comment --comment "default/web:http traffic not accepted by KUBE-FW" -m addrtype --dst-type LOCAL -m tcp --dport 30080 -m conntrack ! --ctstate DNAT -j DROP',
    ]);
  });

  it('opens the health check port, also without endpoints', () => {
    expect(ofChain(plan({ healthCheckNodePort: 31000 }, []), 'filter', 'KUBE-NODEPORTS')).toEqual([
      '-p tcp -m comment --comment "default/web:http health check node port" -m tcp --dport 31000 -j ACCEPT',
    ]);
  });

  it('shares the lists of clients between the ports of a Service where the annotation asks for it', () => {
    const listsOf = (port: string, isAffinityShared: boolean) => {
      const name = { namespace: 'default', name: 'web', port, protocol: 'TCP' as const };
      const objects = plan({ name, affinityTimeoutSeconds: 90, isAffinityShared }, two);
      return new Set(lines(objects, 'nat').flatMap(line => /--name (\S+)/.exec(line)?.[1] ?? []));
    };
    expect(listsOf('http', true)).toEqual(listsOf('https', true));
    expect(listsOf('http', true).size).toBe(2);
    expect([...listsOf('http', false)].filter(list => listsOf('https', false).has(list))).toEqual([]);
  });

  it('with affinity, first looks where the client was, and notes where it goes', () => {
    const objects = plan({ affinityTimeoutSeconds: 90 }, two);
    const [a, b] = two.map(({ ip }) => endpointChain('default/web:http', 'TCP', `${ip}:8080`));
    const key = '--mask 255.255.255.255 --rsource';
    expect(lines(objects, 'nat').map(line => line.slice(line.indexOf(' ', 3) + 1))).toEqual([
      `-s 10.244.1.2/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ`,
      `-p tcp -m comment --comment "default/web:http" -m recent --set --name ${a} ${key} -m tcp -j DNAT --to-destination 10.244.1.2:8080`,
      `-s 10.244.2.2/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ`,
      `-p tcp -m comment --comment "default/web:http" -m recent --set --name ${b} ${key} -m tcp -j DNAT --to-destination 10.244.2.2:8080`,
      '! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-MARK-MASQ',
      `-m comment --comment "default/web:http -> 10.244.1.2:8080" -m recent --rcheck --seconds 90 --reap --name ${a} ${key} -j ${a}`,
      `-m comment --comment "default/web:http -> 10.244.2.2:8080" -m recent --rcheck --seconds 90 --reap --name ${b} ${key} -j ${b}`,
      `-m comment --comment "default/web:http -> 10.244.1.2:8080" -m statistic --mode random --probability 0.50000000000 -j ${a}`,
      `-m comment --comment "default/web:http -> 10.244.2.2:8080" -j ${b}`,
      expect.stringContaining('cluster IP'),
    ]);
  });

  it('with affinity under both policies, looks in each chain among its own endpoints only', () => {
    const objects = plan({ affinityTimeoutSeconds: 90, isExternalLocal: true, nodePort: 30080 }, two);
    const looks = lines(objects, 'nat').filter(line => line.includes('--rcheck'));
    expect(looks.filter(line => line.startsWith('-A KUBE-SVC-'))).toHaveLength(2);
    expect(looks.filter(line => line.startsWith('-A KUBE-SVL-'))).toHaveLength(1);
  });

  it('leaves the chains of the other endpoints alone when one comes or goes, and with them their lists of clients', () => {
    const chainsOf = (endpoints: readonly Endpoint[]) =>
      new Map(plan({ affinityTimeoutSeconds: 90 }, endpoints).map(object => [objectKey(object), object]));
    const { created, updated, deleted } = diff(chainsOf(two), chainsOf([...two, endpoint('10.244.1.3')]));
    expect([...created.keys(), ...updated.keys(), ...deleted.keys()]).toEqual([
      endpointChain('default/web:http', 'TCP', '10.244.1.3:8080'),
      clusterPolicyChain('default/web:http', 'TCP'),
    ]);
  });

  it('writes IPv6 as ip6tables-save does', () => {
    const pod = endpoint('fd00:10:244:1::2');
    const options = { ...IPTABLES_OPTIONS_V6 };
    const served = plan(
      { clusterIP: 'fd00:10:96::10', externalIPs: ['::102:304'], affinityTimeoutSeconds: 90 },
      [pod],
      options,
    );
    const rules = lines(served, 'nat').join('\n');
    expect(rules).toContain('-s fd00:10:244:1::2/128 ');
    expect(rules).toContain('-j DNAT --to-destination [fd00:10:244:1::2]:8080');
    expect(rules).toContain('! -s fd00:10:244::/56 -d fd00:10:96::10/128 -p tcp ');
    expect(rules).toContain('--mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource');
    expect(rules).toContain('-d ::1.2.3.4/128 ');
    const refused = plan({ clusterIP: 'fd00:10:96::10' }, [], options);
    expect(lines(refused, 'filter')).toEqual([
      expect.stringMatching(/-d fd00:10:96::10\/128 .*-j REJECT --reject-with tcp-reset$/),
    ]);
    const name = { ...servicePort().name, protocol: 'UDP' as const };
    expect(lines(plan({ clusterIP: 'fd00:10:96::10', name }, [], options), 'filter')).toEqual([
      expect.stringMatching(/-d fd00:10:96::10\/128 .*-j REJECT --reject-with icmp6-port-unreachable$/),
    ]);
  });

  it('masquerades a pod that reaches itself', () => {
    expect(lines(plan({}, two), 'nat')).toContainEqual(
      expect.stringMatching(/^-A KUBE-SEP-\S+ -s 10.244.1.2\/32 .*-j KUBE-MARK-MASQ$/),
    );
  });
});

describe('planShared', () => {
  const jumps = (options: Partial<IptablesOptions>) =>
    lines(planShared({ ...IPTABLES_OPTIONS, ...options }).values(), 'nat').filter(line =>
      line.endsWith('-j KUBE-NODEPORTS'),
    );

  it('takes NodePorts on every address but loopback, on listed ones, or nowhere', () => {
    expect(jumps({})).toEqual([expect.stringContaining('! -d 127.0.0.0/8 ')]);
    expect(jumps({ family: 'IPv6' })).toEqual([expect.stringContaining('! -d ::1/128 ')]);
    expect(jumps({ nodePortAddresses: ['192.0.2.0/24'] })).toEqual([expect.stringContaining(' -d 192.0.2.0/24 ')]);
    expect(jumps({ nodePortAddresses: [] })).toEqual([]);
  });

  it('serves 127.0.0.1 too where asked, and keeps the network away from it', () => {
    const local = { ...IPTABLES_OPTIONS, hasLocalhostNodePorts: true };
    expect(jumps(local)).toEqual([expect.not.stringContaining(' -d ')]);
    const guard = (options: IptablesOptions) =>
      lines(planShared(options).values(), 'filter').filter(line => line.includes('LOCALNET'));
    expect(guard(local)).toEqual([
      '-A KUBE-PROXY-LOCALNET -d 127.0.0.0/8 ! -i lo -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
      '-A INPUT -m comment --comment "block incoming localnet connections" -j KUBE-PROXY-LOCALNET',
    ]);
    // The kernel may route them without us: the guard is there in any case.
    expect(guard(IPTABLES_OPTIONS)).toHaveLength(2);
    expect(guard(IPTABLES_OPTIONS_V6)).toEqual([]);
  });

  it('drops what conntrack cannot place, unless that is told to be liberal', () => {
    const invalid = (dropsInvalid: boolean) =>
      lines(planShared({ ...IPTABLES_OPTIONS, dropsInvalid }).values(), 'filter').filter(line =>
        line.includes('INVALID'),
      );
    expect(invalid(true)).toHaveLength(1);
    expect(invalid(false)).toEqual([]);
  });

  it('honours the former mark too while it changes, and leaves neither on the packet', () => {
    const shared = (formerMasqueradeBit?: number) =>
      planShared({
        ...IPTABLES_OPTIONS,
        masqueradeBit: 15,
        ...(formerMasqueradeBit === undefined ? {} : { formerMasqueradeBit }),
      }).values();
    expect(lines(shared(14), 'nat').filter(line => line.startsWith('-A KUBE-POSTROUTING '))).toEqual([
      '-A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MARK --set-xmark 0x8000/0xc000',
      '-A KUBE-POSTROUTING -m mark ! --mark 0x8000/0x8000 -j RETURN',
      '-A KUBE-POSTROUTING -j MARK --set-xmark 0x8000/0x0',
      expect.stringContaining('MASQUERADE'),
    ]);
    expect(lines(shared(14), 'filter').filter(line => line.includes('--mark'))).toHaveLength(2);
    expect(lines(shared(), 'nat').join()).not.toContain('0x4000');
  });
});
