import type { Configuration } from '../../config/configuration.ts';
import { cidrsOverlap } from '../../net/cidr.ts';
import type { IPFamily, Node } from '../../watch/objects.ts';
import {
  acceptedAddresses,
  changedLines,
  type KernelFacts,
  LOOPBACK,
  type NodePortAddresses,
  nodeOptions,
  optionTexts,
  rangeOf,
} from '../node-options.ts';
import type { IptablesOptions } from './rules.ts';

/** What the rules of one family depend on, from the configuration and what is known of this node. */
export function iptablesOptions(
  configuration: Configuration,
  node: Node | undefined,
  family: IPFamily,
  facts?: KernelFacts,
): IptablesOptions {
  const common = nodeOptions({ ...configuration, mode: 'iptables' }, node, family, facts);
  const accepted = acceptedAddresses(configuration, common.nodeIP, family);
  const hasLocalhostNodePorts = family === 'IPv4' && servesLocalhost(configuration, accepted);
  return {
    ...common,
    masqueradeBit: configuration.iptables.masqueradeBit,
    nodePortAddresses: hasLocalhostNodePorts ? accepted : common.nodePortAddresses,
    hasLocalhostNodePorts,
  };
}

/** Whether NodePorts are served on 127.0.0.0/8, whatever the cluster says of the node. */
export function hasLocalhostNodePorts(configuration: Configuration): boolean {
  return servesLocalhost(configuration, acceptedAddresses(configuration, undefined, 'IPv4'));
}

function servesLocalhost({ iptables }: Configuration, accepted: NodePortAddresses): boolean {
  return iptables.localhostNodePorts && containsIPv4Loopback(accepted);
}

/** Whether NodePorts may be served on 127.0.0.1, of `acceptedAddresses` for IPv4. */
export function containsIPv4Loopback(accepted: NodePortAddresses): boolean {
  const loopback = rangeOf(LOOPBACK.IPv4);
  return accepted === 'all' || accepted.some(text => cidrsOverlap(rangeOf(text), loopback));
}

/** What differs between two sets of options, a line for each field, for the log. */
export function iptablesOptionChanges(before: IptablesOptions, after: IptablesOptions): readonly string[] {
  return changedLines(textsOf(before), textsOf(after));
}

function textsOf(options: IptablesOptions): Readonly<Record<string, string>> {
  return {
    masqueradeBit: String(options.masqueradeBit),
    ...optionTexts(options),
    'NodePorts on 127.0.0.1': options.hasLocalhostNodePorts ? 'yes' : 'no',
  };
}
