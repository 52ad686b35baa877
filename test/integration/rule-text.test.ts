/**
 * What we plan is, letter for letter, what both variants of iptables-save print in both families: that is how plan and kernel
 * are compared, so a rule that is printed otherwise would be written again at every look.
 */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { diff } from '../../src/backends/diff.ts';
import { createIptablesBackend } from '../../src/backends/iptables/backend.ts';
import type { IptablesOptions } from '../../src/backends/iptables/rules.ts';
import { toolsOf } from '../../src/backends/iptables/tools.ts';
import { planAll } from '../../src/backends/route-changes.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { type RunOptions, run } from '../../src/linux/exec.ts';
import type { EndpointSlice, IPFamily, Service } from '../../src/watch/objects.ts';
import { IPTABLES_OPTIONS, IPTABLES_OPTIONS_V6, service, slice, sliceEndpoint, snapshot } from '../fakes/objects.ts';
import { describeUnless } from './requires.ts';

const NETNS = `kpx-text-${process.pid}`;
const inNetns = (file: string, args: readonly string[] = [], options: RunOptions = {}) =>
  run(file, args, { ...options, netns: NETNS });

const ADDRESSES = {
  IPv4: {
    service: '10.96.0.',
    pod: '10.244.1.',
    // Every kind of address, and one that inet_ntop could write in more than one way.
    external: ['192.0.2.1', '203.0.113.255', '100.64.0.0'],
    vip: '198.51.100.1',
    listed: ['192.0.2.0/24', '198.51.100.7/32'],
    options: IPTABLES_OPTIONS,
  },
  IPv6: {
    service: 'fd00:10:96::',
    pod: 'fd00:10:244:1::',
    external: ['2001:db8::1:0:0:1', '2001:db8:0:1:1:1:1:1', '::102:304', '64:ff9b::c000:201', '1:2:3:4:5:6:7:8'],
    vip: 'fe80::1',
    listed: ['2001:db8::/32', 'fd00:77::11/128'],
    options: IPTABLES_OPTIONS_V6,
  },
} as const;

const NAMES = ['web', 'x'.repeat(63)];
const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const;

/** Everything that a plan can express: policies, protocols, affinity, 1 to 13 endpoints, names up to the longest, no endpoints. */
function cluster(family: IPFamily): { services: Service[]; slices: EndpointSlice[] } {
  const { service: net, pod, external, vip } = ADDRESSES[family];
  const services: Service[] = [];
  const slices: EndpointSlice[] = [];
  const ports = PROTOCOLS.map((protocol, i) => ({ name: `p-${i}`, protocol, port: 80 + i }));
  for (let i = 0; i < 16; i += 1) {
    const namespace = NAMES[(i >> 1) & 1] ?? '';
    const name = `${(NAMES[i & 1] ?? '').slice(0, 60)}-${i}`;
    services.push(
      service({
        namespace,
        name,
        clusterIPs: [`${net}${i + 1}`],
        externalIPs: i === 1 ? [...external] : [],
        loadBalancerIngress: i === 2 ? [{ ip: vip, ipMode: 'VIP' }] : [],
        ports: ports.map((port, p) => ({ ...port, nodePort: i < 8 ? 30_000 + 10 * i + p : 0 })),
        affinityTimeoutSeconds: [0, 10_800, 1, 86_400][i % 4] ?? 0,
        internalTrafficPolicy: i % 3 === 0 ? 'Local' : 'Cluster',
        externalTrafficPolicy: i % 5 === 0 ? 'Local' : 'Cluster',
        ...(i === 5 || i === 10 ? filtered(family) : {}),
      }),
    );
    if (i === 15) continue;
    const endpoints = Array.from({ length: i < 13 ? i + 1 : 2 }, (_, e) =>
      sliceEndpoint(`${pod}${10 * i + e + 1}`, { nodeName: i !== 14 && e % 2 === 0 ? 'node-a' : 'node-b' }),
    );
    slices.push(slice({ namespace, serviceName: name, name: `${name}-s`, family, ports, endpoints }));
  }
  return { services, slices };
}

/** A load balancer with everything that only it has. */
function filtered(family: IPFamily): Partial<Service> {
  const { vip, listed } = ADDRESSES[family];
  return {
    type: 'LoadBalancer',
    loadBalancerIngress: [{ ip: vip, ipMode: 'VIP' }],
    loadBalancerSourceRanges: [...listed],
    nodePortSourceRanges: [...listed],
    healthCheckNodePort: 31_000,
    affinityScope: 'Service',
  };
}

/** Every way to recognise pods and to limit NodePorts. */
function variations(family: IPFamily): Partial<IptablesOptions>[] {
  return [
    {},
    { masqueradeAll: true, masqueradeBit: 31, formerMasqueradeBit: 0 },
    { localDetector: { kind: 'interface', pattern: 'cni0' }, nodePortAddresses: ADDRESSES[family].listed },
    { localDetector: { kind: 'interface', pattern: 'veth+' }, nodePortAddresses: [] },
    { localDetector: { kind: 'none' }, dropsInvalid: false },
    { hasLocalhostNodePorts: true, nodeIP: family === 'IPv4' ? '192.0.2.11' : '2001:db8::11' },
  ];
}

const lacking = await obstacle();

describeUnless(lacking, 'the text of rules', () => {
  beforeEach(async () => {
    await run('ip', ['netns', 'add', NETNS]);
  });
  afterEach(async () => {
    await run('ip', ['netns', 'del', NETNS]);
  });

  for (const variant of ['nft', 'legacy'] as const) {
    for (const family of ['IPv4', 'IPv6'] as const) {
      const tools = toolsOf(variant, family);
      it(`is what ${tools.save} prints`, async () => {
        const node = { name: 'node-a', zone: '' };
        const { services, slices } = cluster(family);
        const snap = snapshot(services, slices);
        const model = updateModel(emptyModel(family, node), snap, snap.services.keys(), node);
        for (const variation of variations(family)) {
          const options = { ...ADDRESSES[family].options, ...variation };
          const backend = createIptablesBackend(() => options, { tools, run: inNetns });
          const wanted = planAll(backend, model);
          const before = await backend.read();
          const { failures } = await backend.apply(diff(before, wanted), before);
          expect(failures).toEqual([]);
          expect(Object.fromEntries(await backend.read())).toEqual(Object.fromEntries(wanted));
        }
      });
    }
  }
});
