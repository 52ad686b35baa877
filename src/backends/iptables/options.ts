import type { Configuration } from '../../config/configuration.ts';
import { ipFamily, isLoopback, isUnspecified } from '../../net/ip.ts';
import type { IPFamily, Node } from '../../watch/objects.ts';
import type { IptablesOptions, LocalDetector } from './rules.ts';

/** What the rules of one family depend on, from the configuration and what is known of this node. */
export function iptablesOptions(
  configuration: Configuration,
  node: Node | undefined,
  family: IPFamily,
): IptablesOptions {
  return {
    family,
    masqueradeBit: configuration.iptables.masqueradeBit,
    masqueradeAll: configuration.iptables.masqueradeAll,
    localDetector: localDetector(configuration.detectLocal, node, family),
    nodePortAddresses: nodePortAddresses(configuration, node, family),
  };
}

/** What differs between two sets of options, a line for each field, for the log. */
export function optionChanges(before: IptablesOptions, after: IptablesOptions): readonly string[] {
  const texts = (options: IptablesOptions) => ({
    masqueradeBit: String(options.masqueradeBit),
    masqueradeAll: String(options.masqueradeAll),
    'pods are recognised by': detectorText(options.localDetector),
    'addresses for NodePorts': [options.nodePortAddresses].flat().join(', ') || 'none',
  });
  const [old, now] = [texts(before), texts(after)];
  return (Object.keys(old) as (keyof typeof old)[])
    .filter(field => old[field] !== now[field])
    .map(field => `${field}: ${old[field]} → ${now[field]}`);
}

function detectorText(detector: LocalDetector): string {
  switch (detector.kind) {
    case 'none':
      return 'nothing';
    case 'source':
      return `source ${detector.cidr}`;
    case 'interface':
      return `interface ${detector.pattern}`;
  }
}

function isOfFamily(family: IPFamily): (addressOrCIDR: string) => boolean {
  return text => text.includes(':') === (family === 'IPv6');
}

/** Without the data that a mode needs, no traffic counts as local; the daemon says so. */
function localDetector(
  detectLocal: Configuration['detectLocal'],
  node: Node | undefined,
  family: IPFamily,
): LocalDetector {
  switch (detectLocal.mode) {
    case 'ClusterCIDR':
      return sourceDetector(detectLocal.cidrs.find(isOfFamily(family)));
    case 'NodeCIDR':
      return sourceDetector(node?.podCIDRs.find(isOfFamily(family)));
    case 'BridgeInterface':
      return { kind: 'interface', pattern: detectLocal.interfaceName };
    case 'InterfaceNamePrefix':
      return { kind: 'interface', pattern: `${detectLocal.interfaceNamePrefix}+` };
  }
}

function sourceDetector(cidr: string | undefined): LocalDetector {
  return cidr === undefined ? { kind: 'none' } : { kind: 'source', cidr };
}

/** A list without an entry of this family accepts every address of it, as in kube-proxy. Loopback never takes NodePorts. */
function nodePortAddresses(
  configuration: Configuration,
  node: Node | undefined,
  family: IPFamily,
): IptablesOptions['nodePortAddresses'] {
  const { nodePortAddresses: configured } = configuration;
  if (configured === 'primary') {
    const address = primaryAddress(configuration, node, family);
    return address === undefined ? [] : [`${address}/${family === 'IPv6' ? 128 : 32}`];
  }
  const ofFamily = configured.filter(isOfFamily(family));
  if (ofFamily.length === 0 || ofFamily.some(cidr => cidr.endsWith('/0'))) return 'all';
  return ofFamily.filter(cidr => !isLoopback(cidr.slice(0, cidr.indexOf('/'))));
}

/** A specific bindAddress is the node's own, as in kube-proxy; else what the Node object says. undefined = not known, or the node has none. */
function primaryAddress({ bindAddress }: Configuration, node: Node | undefined, family: IPFamily): string | undefined {
  const ofFamily = isOfFamily(family);
  if (ofFamily(bindAddress) && !isUnspecified(bindAddress)) return bindAddress;
  for (const wanted of ['InternalIP', 'ExternalIP']) {
    const found = node?.addresses.find(({ type, address }) => {
      return type === wanted && ipFamily(address) !== undefined && ofFamily(address);
    });
    if (found !== undefined) return found.address;
  }
  return undefined;
}
