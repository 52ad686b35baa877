/** ADD: an attachment as its configuration wants it, or nothing of it. */
import { readFileSync } from 'node:fs';
import { ipFamily } from '../../net/ip.ts';
import { dnsOfResolvConf } from '../config/dns.ts';
import { withGateways } from '../config/gateways.ts';
import {
  type NetworkConfig,
  readNetworkConfig,
  refuseSmallMtu,
  addressOf as withoutPrefix,
} from '../config/network.ts';
import { parseRangeSets } from '../config/ranges.ts';
import { refuse } from '../config/reader.ts';
import { type Attachment, attachmentText, type KeptAddress } from '../ipam/attachment.ts';
import { type AgentReply, type AgentRequest, type AttachmentId, CniError, type CniResult, CODE } from '../types.ts';
import { hostLinkOf } from '../wiring/names.ts';
import { shadowedBy } from './listening.ts';
import type { AgentParts } from './parts.ts';
import { configOf, gatewaysOf, hasRules, keptConfig, linkSpecOf, podRulesOf } from './plan.ts';
import { grantPorts } from './ports.ts';
import { heldPorts, removeAttachment } from './remove.ts';
import { addressesResult, linkResult } from './result.ts';

/** What an attachment of somebody else's interface is known by: no interface has such a name, so that it and the one who made it can both be ours. */
export const chainedID = (id: AttachmentId): AttachmentId => ({ ...id, ifname: `${id.ifname}:chained` });

/** @throws CniError when nothing of the attachment is left */
export async function addAttachment(
  parts: AgentParts,
  request: AgentRequest,
  signal: AbortSignal,
): Promise<AgentReply> {
  const config = readNetworkConfig(request);
  const id = config.role === 'chained' ? chainedID(config.id) : config.id;
  const addresses = givenAddresses(config);
  const rangeSets = rangeSetsOf(parts, config);
  const given = addresses?.map(({ address }) => ipFamily(withoutPrefix(address)));
  const families = new Set(given ?? rangeSets.map(({ family }) => family));
  refuseSmallMtu(config, [...families]);
  await refuseExisting(parts, id, config);
  const netnsId = parts.wiring.identityOf(config.netns);
  if (netnsId === parts.wiring.identity)
    throw new CniError(CODE.netnsIsHosts, `CNI_NETNS ${config.netns} is the host's network namespace`);
  const { hostPorts, warnings } = grantPorts(parts, { id, asked: config.hostPorts, families });
  const attachment = await parts.store.reserve({
    id,
    createdAt: Date.now(),
    rangeSets,
    isOfNode: keptConfig(config).isOfNode ?? false,
    requested: config.ipam === 'own' && config.role !== 'chained' ? config.requestedIPs : [],
    ...(addresses === undefined ? {} : { delegated: addresses }),
    hostPorts,
    config: keptConfig(config),
    netns: config.netns,
    netnsId,
    ...(config.role === 'link' ? { hostLink: hostLinkOf(id) } : {}),
    ...(config.port.mac === undefined ? {} : { mac: config.port.mac }),
    pod: config.pod,
  });
  try {
    signal.throwIfAborted();
    if (config.role === 'link') refuseSecondBridge(parts, attachment, config.port);
    const result = await makeAttachment(parts, config, attachment);
    signal.throwIfAborted();
    const listeners = await shadowedBy(attachment.hostPorts);
    if (attachment.hostPorts.length > 0) parts.tellPorts(heldPorts(attachment, listeners));
    const shared = listeners.map(({ text, place }) => `hostPort ${text}: what listens at ${place} gets nothing more`);
    return { result, warnings: [...warnings, ...shared] };
  } catch (error) {
    await undo(parts, id, error);
    throw signal.aborted ? new CniError(CODE.tryAgain, 'the plugin ended before its answer; nothing was left') : error;
  }
}

/** Of the interface that is there already, or of another IPAM plugin; undefined: ours to give. */
function givenAddresses(config: NetworkConfig): readonly KeptAddress[] | undefined {
  const { role, prevResult, ipam, ipamResult, id, port } = config;
  const plain = (ips: CniResult['ips']) =>
    (ips ?? []).map(({ address, gateway }) => ({ address, ...(gateway === undefined ? {} : { gateway }) }));
  if (role === 'chained') {
    const index = prevResult?.interfaces?.findIndex(
      ({ name, sandbox }) => name === id.ifname && (sandbox ?? '') !== '',
    );
    return plain(prevResult?.ips?.filter(ip => ip.interface === undefined || ip.interface === index));
  }
  if (ipam !== 'other') return undefined;
  const addresses = plain(ipamResult?.ips);
  return port.isGateway ? withGateways(addresses) : addresses;
}

/** @throws CniError (106); one whose pod is gone makes room */
async function refuseExisting(parts: AgentParts, id: AttachmentId, config: NetworkConfig): Promise<void> {
  const there = parts.store.get(id);
  if (there === undefined) return;
  if (isAlive(parts, there))
    throw new CniError(
      CODE.exists,
      `container veth name ("${config.id.ifname}") of ${config.id.containerID} in ${config.id.network} already exists: DEL it first`,
    );
  await removeAttachment(parts, id);
}

/**
 * One range on two bridges: the node would reach the pods of one of them only. @throws CniError (105) when the network's `bridge` has another name now than
 * where pods live
 */
function refuseSecondBridge(
  parts: AgentParts,
  attachment: Attachment,
  { bridge, isGateway }: NetworkConfig['port'],
): void {
  if (!isGateway) return;
  const other = parts.gatewayBridges.isElsewhere(attachment, bridge)
    ? podElsewhere(parts, attachment, bridge)
    : undefined;
  if (other === undefined) {
    parts.gatewayBridges.note(attachment, bridge);
    return;
  }
  throw new CniError(
    CODE.bridgeConflict,
    `pods of this range are on the bridge "${configOf(other)!.port.bridge}", "${bridge}" can't have it too: have those pods go first, or name that bridge`,
    attachmentText(other),
  );
}

/** A pod that lives with one of the attachment's gateways on another bridge. */
function podElsewhere(parts: AgentParts, attachment: Attachment, bridge: string): Attachment | undefined {
  const gateways = new Set(gatewaysOf(attachment.addresses));
  return parts.store.byNetwork(attachment.id.network).find(there => {
    const kept = configOf(there);
    const isElsewhere = kept?.role === 'link' && kept.port.isGateway && kept.port.bridge !== bridge;
    return isElsewhere && gatewaysOf(there.addresses).some(gateway => gateways.has(gateway)) && isAlive(parts, there);
  });
}

/** Whether the namespace that it was made for is still there. */
export function isAlive({ wiring }: AgentParts, { netns, netnsId }: Attachment): boolean {
  if (netns === '' || netnsId === undefined) return false;
  try {
    return wiring.identityOf(netns) === netnsId;
  } catch (error) {
    if (error instanceof Error && 'code' in error) return false;
    throw error;
  }
}

function rangeSetsOf({ settings }: AgentParts, config: NetworkConfig) {
  if (config.ipam !== 'own' || config.role === 'chained') return [];
  const { ipamSection, runtimeRanges } = config;
  const { podCIDRs } = settings();
  return parseRangeSets({ ipam: ipamSection, podCIDRs, ...(runtimeRanges === undefined ? {} : { runtimeRanges }) });
}

async function makeAttachment(parts: AgentParts, config: NetworkConfig, attachment: Attachment): Promise<CniResult> {
  const { store, wiring } = parts;
  const kept = keptConfig(config);
  const routes = config.ipam === 'other' ? (config.ipamResult?.routes ?? []) : config.routes;
  const dns = config.dns ?? config.ipamResult?.dns ?? resolvConfDns(config);
  if (config.role === 'addresses') {
    await store.ready(attachment.id);
    return addressesResult(config, attachment, dns);
  }
  if (config.role === 'chained' && config.bandwidth !== undefined)
    refuse('bandwidth', 'is only for interfaces that this plugin makes');
  if (config.role === 'chained') {
    await programRules(parts, attachment, podRulesOf(attachment, kept));
    await store.ready(attachment.id);
    return config.prevResult ?? {};
  }
  const spec = linkSpecOf(attachment, { ...kept, routes });
  const attached = wiring.attach(spec);
  const wired = { ...attachment, id: attachment.id, mac: attached.mac };
  await Promise.all([
    programRules(parts, wired, podRulesOf(wired, kept)),
    store.ready(attachment.id, { mac: attached.mac, config: { ...kept, routes } }),
    wiring.settle(spec.netns, attached.unsettled),
  ]);
  return linkResult(config, attachment, attached, dns);
}

async function programRules(
  parts: AgentParts,
  { hostPorts }: Attachment,
  pod: ReturnType<typeof podRulesOf>,
): Promise<void> {
  if (hasRules(pod)) {
    await parts.rules.add(pod);
    parts.localnet.follow();
    const udp = hostPorts.filter(({ protocol }) => protocol === 'udp');
    if (udp.length > 0) await parts.flows.flush({ addresses: [], hostPorts: udp });
  }
  if (pod.bridge !== undefined) await parts.acceptBridge(pod.bridge);
}

function resolvConfDns({ resolvConf }: NetworkConfig) {
  if (resolvConf === undefined) return undefined;
  try {
    return dnsOfResolvConf(readFileSync(resolvConf, 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error) return refuse('ipam.resolvConf', error.message);
    throw error;
  }
}

async function undo(parts: AgentParts, id: AttachmentId, cause: unknown): Promise<void> {
  try {
    await removeAttachment(parts, id);
  } catch (error) {
    parts.log.error(
      { err: error, cause, attachment: id },
      'an ADD that failed is not undone yet: the sweep goes on with it',
    );
  }
}
