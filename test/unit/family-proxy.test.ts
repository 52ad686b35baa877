import { afterEach, describe, expect, it } from 'vitest';
import { createIptablesFamily } from '../../src/backends/iptables/family.ts';
import type { Configuration } from '../../src/config/configuration.ts';
import { defaultConfiguration } from '../../src/config/load.ts';
import { FamilyProxy } from '../../src/family-proxy.ts';
import { SyncHealth } from '../../src/http/health-state.ts';
import { createLogger } from '../../src/log.ts';
import { createMetrics } from '../../src/metrics.ts';
import type { Node } from '../../src/watch/objects.ts';
import { Store } from '../../src/watch/store.ts';
import { FakeIptables } from '../fakes/iptables.ts';
import { service, slice, sliceEndpoint } from '../fakes/objects.ts';

const defaults = defaultConfiguration().configuration;
const byNode: Configuration = { ...defaults, detectLocal: { mode: 'NodeCIDR' }, nodePortAddresses: 'primary' };

const node = (fields: Partial<Node> = {}): Node => ({
  name: 'node-a',
  uid: 'n1',
  labels: { 'topology.kubernetes.io/zone': 'zone-a' },
  podCIDRs: ['10.244.1.0/24'],
  addresses: [{ type: 'InternalIP', address: '192.0.2.11' }],
  taints: [],
  isDeleting: false,
  ...fields,
});

const proxies: FamilyProxy[] = [];
afterEach(async () => {
  for (const proxy of proxies.splice(0)) await proxy.close();
});

/** A family over a fake kernel, with a Service and our Node in the store; `synced` waits until nothing is queued. */
function start({ configuration = byNode, kernel = new FakeIptables() } = {}) {
  const lines: string[] = [];
  const log = createLogger({ level: 'info', destination: { write: line => void lines.push(JSON.parse(line).msg) } });
  const store = new Store();
  const health = new SyncHealth({
    families: ['IPv4'],
    syncPeriodMs: () => 1000,
    source: () => ({ awaited: [], lastContactMs: undefined }),
    now: () => 0,
  });
  const proxy = new FamilyProxy({
    family: 'IPv4',
    backend: createIptablesFamily({ family: 'IPv4', variant: 'nft', run: kernel.run, log }),
    configuration,
    nodeName: 'node-a',
    store,
    health,
    metrics: createMetrics('0.0.0'),
    log,
    compactHeap: () => undefined,
  });
  proxies.push(proxy);
  store.onDirty(dirty => proxy.note(dirty));
  store.upsert('Node', node());
  store.upsert('Service', service({ ports: [{ name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 }] }));
  store.upsert('EndpointSlice', slice());
  const synced = () =>
    expect.poll(() => health.families().get('IPv4'), { interval: 2 }).toMatchObject({ lastUpdatedMs: 0 });
  const settled = async () => {
    await synced();
    await expect.poll(() => health.families().get('IPv4'), { interval: 2 }).not.toHaveProperty('pendingSinceMs');
  };
  return { proxy, kernel, store, settled, messages: () => lines.splice(0) };
}

describe('FamilyProxy', () => {
  it('writes nothing before start, then everything that was noted', async () => {
    const { proxy, kernel, settled } = start();
    expect(kernel.restores).toEqual([]);
    proxy.start();
    await settled();
    expect(kernel.save('nat')).toContain('! -s 10.244.1.0/24 -d 10.96.0.10/32');
  });

  it('follows the Node in one sync, with a line for each fact that changed', async () => {
    const { proxy, kernel, store, settled, messages } = start();
    proxy.start();
    await settled();
    messages();
    store.upsert(
      'Node',
      node({
        labels: { 'topology.kubernetes.io/zone': 'zone-b' },
        podCIDRs: ['10.244.9.0/24'],
        addresses: [{ type: 'InternalIP', address: '192.0.2.99' }],
      }),
    );
    await settled();
    expect(messages()).toEqual([
      'pods are recognised by: source 10.244.1.0/24 → source 10.244.9.0/24',
      'addresses for NodePorts: 192.0.2.11/32 → 192.0.2.99/32',
      "the node's address: 192.0.2.11 → 192.0.2.99",
      'zone of this node: zone-a → zone-b',
      'all rules are programmed',
    ]);
    const rules = kernel.save('nat');
    expect(rules).toContain('! -s 10.244.9.0/24 -d 10.96.0.10/32');
    expect(rules).toMatch(/-A KUBE-SERVICES -d 192\.0\.2\.99\/32 .*-j KUBE-NODEPORTS/);
    expect(rules).not.toMatch(/10\.244\.1\.0\/24|192\.0\.2\.11/);
  });

  it('plans nothing for a change of the Node that no rule depends on', async () => {
    const { proxy, kernel, store, settled, messages } = start();
    proxy.start();
    await settled();
    const before = kernel.restores.length;
    messages();
    store.upsert('Node', node({ taints: ['node.kubernetes.io/not-ready'], labels: { ...node().labels, a: 'b' } }));
    store.upsert('Service', service({ name: 'other', clusterIPs: ['10.96.0.11'] }));
    await settled();
    expect(kernel.restores.slice(before).join('\n')).not.toContain('KUBE-MARK-MASQ');
    expect(messages()).toEqual([]);
  });

  it('keeps addresses and pod CIDRs until a Node that registers anew has its own', async () => {
    const { proxy, kernel, store, settled, messages } = start();
    proxy.start();
    await settled();
    const rules = kernel.save('nat');
    messages();
    store.remove('Node', 'node-a');
    store.upsert('Node', node({ uid: 'n2', podCIDRs: [], addresses: [{ type: 'Hostname', address: 'node-a' }] }));
    await settled();
    expect([kernel.save('nat'), messages()]).toEqual([rules, []]);
    store.upsert('Node', node({ uid: 'n2', podCIDRs: ['10.244.7.0/24'], addresses: [] }));
    await settled();
    expect(kernel.save('nat')).toContain('10.244.7.0/24');
    expect(kernel.save('nat')).toContain('-d 192.0.2.11/32 -m comment --comment "kubernetes service nodeports');
  });

  it('keeps what it knows of a Node that was deleted, and follows the one that comes in its place', async () => {
    const { proxy, kernel, store, settled } = start();
    proxy.start();
    await settled();
    const before = kernel.save('nat');
    store.remove('Node', 'node-a');
    store.upsert('Service', service({ name: 'other', clusterIPs: ['10.96.0.11'] }));
    await settled();
    expect(kernel.save('nat')).toContain('! -s 10.244.1.0/24 -d 10.96.0.10/32');
    store.remove('Service', 'default/other');
    await settled();
    expect(kernel.save('nat')).toBe(before);
    store.upsert('Node', node({ uid: 'n2', podCIDRs: ['10.244.7.0/24'] }));
    await settled();
    expect(kernel.save('nat')).toContain('! -s 10.244.7.0/24 -d 10.96.0.10/32');
  });

  it('takes another configuration into use', async () => {
    const { proxy, kernel, settled, messages } = start();
    proxy.start();
    await settled();
    messages();
    proxy.configure({
      ...byNode,
      iptables: { ...byNode.iptables, masqueradeBit: 15, masqueradeAll: true },
      nodePortAddresses: [],
    });
    await settled();
    expect(messages().slice(0, 5)).toEqual([
      'masqueradeBit: 14 → 15',
      'masqueradeAll: false → true',
      'addresses for NodePorts: 192.0.2.11/32 → all',
      'NodePorts on 127.0.0.1: no → yes',
      'all rules are programmed',
    ]);
    expect(kernel.save('nat')).toContain('MARK --set-xmark 0x8000/0x8000');
  });

  it('honours both marks while another takes over, in this order, and then only the new one', async () => {
    const { proxy, kernel, settled } = start();
    proxy.start();
    await settled();
    const before = kernel.restores.length;
    proxy.configure({ ...byNode, iptables: { ...byNode.iptables, masqueradeBit: 15 } });
    await settled();
    const [forward, nat, ...later] = kernel.restores.slice(before);
    expect(forward).toMatch(/--mark 0x8000\/0x8000 -j ACCEPT\n[\s\S]*--mark 0x4000\/0x4000 -j ACCEPT\n/);
    expect(nat).toMatch(/-A KUBE-MARK-MASQ -j MARK --set-xmark 0x8000\/0x8000\n/);
    expect(nat).toMatch(/-A KUBE-POSTROUTING -m mark --mark 0x4000\/0x4000 -j MARK --set-xmark 0x8000\/0xc000\n/);
    expect(later).toHaveLength(2);
    expect(kernel.save('nat') + kernel.save('filter')).not.toMatch(/0x4000|0xc000/);
  });

  it('honours the mark of the rules that a predecessor left, until its own is in force', async () => {
    const kernel = new FakeIptables();
    const first = start({ kernel });
    first.proxy.start();
    await first.settled();
    await first.proxy.close();
    const before = kernel.restores.length;
    const next = start({ kernel, configuration: { ...byNode, iptables: { ...byNode.iptables, masqueradeBit: 31 } } });
    next.proxy.start();
    await next.settled();
    expect(kernel.restores.slice(before).join('\n')).toContain(
      '--mark 0x4000/0x4000 -j MARK --set-xmark 0x80000000/0x80004000',
    );
    expect(kernel.save('nat') + kernel.save('filter')).not.toMatch(/0x4000\b/);
  });

  it('goes from one mark to a third while the second could not be programmed', async () => {
    const { proxy, kernel, settled } = start();
    proxy.start();
    await settled();
    kernel.refuse.add('0x8000/0x8000');
    proxy.configure({ ...byNode, iptables: { ...byNode.iptables, masqueradeBit: 15 } });
    await settled();
    const before = kernel.restores.length;
    proxy.configure({ ...byNode, iptables: { ...byNode.iptables, masqueradeBit: 16 } });
    await settled();
    expect(kernel.restores.slice(before).join('\n')).toContain(
      '--mark 0x4000/0x4000 -j MARK --set-xmark 0x10000/0x14000',
    );
    expect(kernel.save('nat') + kernel.save('filter')).not.toMatch(/0x4000|0x8000/);
  });

  it('writes nothing while paused, then reads the kernel and programs what it missed', async () => {
    const { proxy, kernel, store, settled } = start();
    proxy.start();
    await settled();
    await proxy.pause();
    const before = kernel.restores.length;
    store.upsert('EndpointSlice', slice({ endpoints: [sliceEndpoint('10.244.1.77')] }));
    proxy.configure({ ...byNode, iptables: { ...byNode.iptables, masqueradeAll: true } });
    await proxy.observe();
    expect(kernel.restores.length).toBe(before);
    kernel.dropTable('nat');
    proxy.start();
    await settled();
    await expect.poll(() => kernel.save('nat'), { interval: 2 }).toContain('10.244.1.77:8080');
    expect(kernel.save('nat')).toContain('KUBE-MARK-MASQ');
  });
});
