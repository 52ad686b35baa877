/** CHECK: what was promised is still so. Writes nothing. */
import { existsSync } from 'node:fs';
import type { IPFamily } from '../../net/ip.ts';
import { ipFamily } from '../../net/ip.ts';
import { idOf, addressOf as withoutPrefix } from '../config/network.ts';
import { isObject } from '../config/reader.ts';
import { type Attachment, addressOf } from '../ipam/attachment.ts';
import { bridgeNetfilterProblems } from '../rules/bridge-netfilter.ts';
import { type AgentRequest, CniError, type CniResult, CODE } from '../types.ts';
import { chainedID, isAlive } from './add.ts';
import type { AgentParts } from './parts.ts';
import { configOf, hasRules, linkSpecOf, podRulesOf } from './plan.ts';

/** @throws CniError: 3 = no such attachment; 103 with everything that isn't as it was made */
export async function checkAttachment(parts: AgentParts, request: AgentRequest): Promise<void> {
  const id = idOf(request);
  const chained = parts.store.get(chainedID(id));
  const found = [parts.store.get(id), chained].filter(attachment => attachment !== undefined);
  const isAsked = (attachment: Attachment) =>
    (configOf(attachment)?.role === 'addresses') === (request.config.kproxyDelegated === true);
  const asked = found.filter(isAsked);
  if (asked.length === 0)
    throw new CniError(
      CODE.unknownContainer,
      `no ${id.ifname} of container ${id.containerID} is known in network ${id.network}`,
    );
  const problems: string[] = [];
  for (const attachment of asked)
    problems.push(...(await problemsOf(parts, attachment, request)), ...differences(request, attachment));
  if (problems.length > 0)
    throw new CniError(CODE.kernel, `${id.ifname} of ${id.containerID}: ${problems[0]}`, problems.join('; '));
}

async function problemsOf(
  parts: AgentParts,
  attachment: Attachment,
  request: AgentRequest,
): Promise<readonly string[]> {
  const kept = configOf(attachment);
  if (kept === undefined || kept.role === 'addresses') return [];
  if (!isAlive(parts, attachment)) return [`the network namespace ${attachment.netns} is gone, or another one`];
  const rules = podRulesOf(attachment, kept);
  return [
    ...(kept.role === 'link' ? parts.wiring.check({ ...linkSpecOf(attachment, kept), ...lastMac(request) }) : []),
    ...(hasRules(rules) ? await parts.rules.check(rules) : []),
    ...(kept.role === 'link' ? bridgedProblems(attachment) : []),
  ];
}

/** A plugin after this one may have given the pod another MAC (tuning does): the last result has it. */
function lastMac({ config, ifname }: AgentRequest): { readonly mac?: string } {
  const { interfaces = [] } = isObject(config.prevResult) ? (config.prevResult as CniResult) : {};
  const found = interfaces.find(({ name, sandbox }) => name === ifname && (sandbox ?? '') !== '');
  return found?.mac === undefined || found.mac === '' ? {} : { mac: found.mac };
}

/** Where the kernel has no br_netfilter at all there is nothing that anybody could have changed: that is said at the start. */
function bridgedProblems({ addresses }: Attachment): readonly string[] {
  if (!existsSync('/proc/sys/net/bridge')) return [];
  const families = [...new Set(addresses.map(address => ipFamily(addressOf(address))))];
  return bridgeNetfilterProblems({ families: families as readonly IPFamily[] });
}

/** The runtime's memory against ours: addresses. */
function differences({ config }: AgentRequest, { addresses }: Attachment): readonly string[] {
  const { prevResult } = config;
  if (!isObject(prevResult)) return [];
  const theirs = new Set(((prevResult as CniResult).ips ?? []).map(({ address }) => withoutPrefix(address)));
  const missing = addresses.map(addressOf).filter(address => !theirs.has(address));
  return missing.map(address => `prevResult lacks ${address}, which the attachment has`);
}
