/** Objects of the cluster as a whole, and of its nodes: trims Nodes, ServiceCIDRs, Namespaces and Pods. */
import { addressOf, childOf, entriesOf, type Fields, listOf, mapItems, rangesOf, textOf } from './fields.ts';
import type { Namespace, Node, NodeAddress, Pod, ServiceCIDR } from './objects.ts';
import { type Trimmed, trimNamed } from './trim-named.ts';

/** Addresses of the types Hostname, InternalDNS and ExternalDNS are names and stay as they are. */
function nodeAddressOf(address: Fields): NodeAddress | undefined {
  const type = textOf(address, 'type');
  const isIP = type === 'InternalIP' || type === 'ExternalIP';
  const value = isIP ? addressOf(address, 'address', address.raw.address) : textOf(address, 'address');
  return value === undefined || value === '' ? undefined : { type, address: value };
}

/** Trims a core/v1 Node. */
export function trimNode(raw: unknown): Trimmed<Node> {
  return trimNamed('Node', raw, (fields, { name, fields: metadata }) => {
    const spec = childOf(fields, 'spec');
    const hasOnlyOne = listOf(spec, 'podCIDRs').length === 0 && textOf(spec, 'podCIDR') !== '';
    const ranges = hasOnlyOne ? { ...spec, raw: { podCIDRs: [spec.raw.podCIDR] } } : spec;
    return {
      name,
      uid: textOf(metadata, 'uid'),
      labels: entriesOf(metadata, 'labels', () => true),
      podCIDRs: rangesOf(ranges, 'podCIDRs'),
      addresses: mapItems(childOf(fields, 'status'), 'addresses', nodeAddressOf),
      taints: mapItems(spec, 'taints', taint => textOf(taint, 'key') || undefined),
      isDeleting: textOf(metadata, 'deletionTimestamp') !== '',
    };
  });
}

/** Trims a networking.k8s.io/v1 ServiceCIDR (Kubernetes 1.33). */
export function trimServiceCIDR(raw: unknown): Trimmed<ServiceCIDR> {
  return trimNamed('ServiceCIDR', raw, (fields, { name }) => ({
    name,
    cidrs: rangesOf(childOf(fields, 'spec'), 'cidrs'),
  }));
}

/** Trims a core/v1 Namespace. One that is being deleted exists until its last object is gone. */
export function trimNamespace(raw: unknown): Trimmed<Namespace> {
  return trimNamed('Namespace', raw, (_, { name }) => ({ name }));
}

/** Phases of pods that don't live: their addresses may be others' already, or nobody knows of them. */
const NOT_ALIVE = ['Succeeded', 'Failed', 'Unknown'];

/** Trims a core/v1 Pod; one that has ended, or is about to, is no object, as for CoreDNS. */
export function trimPod(raw: unknown): Trimmed<Pod> {
  return trimNamed('Pod', raw, (fields, { namespace, name, fields: metadata }) => {
    const status = childOf(fields, 'status');
    const isEnding = textOf(metadata, 'deletionTimestamp') !== '';
    if (isEnding || NOT_ALIVE.includes(textOf(status, 'phase'))) return undefined;
    const ips = mapItems(status, 'podIPs', item => addressOf(item, 'ip', item.raw.ip));
    const first =
      ips.length === 0 && textOf(status, 'podIP') !== '' ? addressOf(status, 'podIP', status.raw.podIP) : undefined;
    return { namespace, name, ips: first === undefined ? ips : [first] };
  });
}
