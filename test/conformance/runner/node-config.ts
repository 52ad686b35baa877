/** The node of a case as the product knows one: a configuration from a file, and a Node object. */
import type { Configuration } from '../../../src/config/configuration.ts';
import { parseConfiguration } from '../../../src/config/load.ts';
import { ipFamily } from '../../../src/net/ip.ts';
import type { NodeConfig } from './packetflow.ts';

/** The configuration as the product reads it from a KubeProxyConfiguration. @throws ConfigurationError when it doesn't take it */
export function configurationFor(node: NodeConfig, mode: string): Configuration {
  const { masqueradeAll = false, localhostNodePorts = true, nodePortAddresses = [] } = node;
  const document = {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    hostnameOverride: node.nodeName,
    mode,
    nodePortAddresses,
    iptables: { masqueradeAll, localhostNodePorts },
    nftables: { masqueradeAll },
    ...detection(node.localDetect),
  };
  return parseConfiguration(JSON.stringify(document), 'nodeConfig').configuration;
}

/** `None` is kube-proxy without the data that its mode needs. */
function detection(detect: NodeConfig['localDetect']): object {
  switch (detect.mode) {
    case 'None':
    case '':
      return { detectLocalMode: 'ClusterCIDR', clusterCIDR: '' };
    case 'ClusterCIDR':
      return { detectLocalMode: 'ClusterCIDR', clusterCIDR: (detect.cidrs ?? []).join(',') };
    case 'NodeCIDR':
      return { detectLocalMode: 'NodeCIDR' };
    default:
      return { detectLocalMode: detect.mode, detectLocal: detectedBy(detect) };
  }
}

function detectedBy(detect: NodeConfig['localDetect']): object {
  const name = interfaceNameOf(detect);
  return detect.mode === 'BridgeInterface' ? { bridgeInterface: name } : { interfaceNamePrefix: name };
}

/** The name or prefix of the interface, under whatever field the case has it. */
function interfaceNameOf(detect: NodeConfig['localDetect']): string {
  const named = Object.entries(detect).find(([field, value]) => field !== 'mode' && typeof value === 'string');
  return typeof named?.[1] === 'string' ? named[1] : 'pods';
}

/** The Node object: labels, its primary address and one of the other family, and the pod CIDRs where these tell what a pod is. */
export function nodeObject({ nodeName, nodeIPs, primaryNodeIP, labels = {}, localDetect }: NodeConfig): unknown {
  const first = primaryNodeIP ?? nodeIPs[0];
  const own = first === undefined ? [] : [first];
  const other = nodeIPs.find(ip => own.every(primary => ipFamily(primary) !== ipFamily(ip)));
  const addresses = [...own, ...(other === undefined ? [] : [other])];
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: nodeName, labels },
    spec: localDetect.mode === 'NodeCIDR' ? { podCIDRs: localDetect.cidrs ?? [] } : {},
    status: { addresses: addresses.map(address => ({ type: 'InternalIP', address })) },
  };
}

/** The interface that pods' packets come in by: the one that the node looks for, where it looks for one. At most 15 characters. */
export function podInterface({ localDetect }: NodeConfig): string {
  if (localDetect.mode === 'BridgeInterface') return interfaceNameOf(localDetect);
  return localDetect.mode === 'InterfaceNamePrefix' ? `${interfaceNameOf(localDetect).slice(0, 14)}0` : 'pods0';
}

/** The interface that everybody else's packets come in by: never one that is taken for pods'. */
export function outsideInterface(node: NodeConfig): string {
  const { mode } = node.localDetect;
  const isTaken = (name: string) =>
    name === podInterface(node) ||
    (mode === 'InterfaceNamePrefix' && name.startsWith(interfaceNameOf(node.localDetect)));
  return ['uplink0', 'eth9', 'wan0'].find(name => !isTaken(name)) ?? 'wan0';
}
