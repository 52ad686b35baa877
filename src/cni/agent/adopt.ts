/** Records that were lost, made again from what the kernel knows: links by their aliases, addresses from the pods' namespaces, hostPorts from the rules. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { addressOf } from '../ipam/attachment.ts';
import { attachmentKey } from '../types.ts';
import type { AgentParts } from './parts.ts';
import type { KeptConfig } from './plan.ts';

/** Where runtimes keep names of namespaces. */
const NAMESPACES = ['/run/netns', '/run/docker/netns'];

/** A pod whose namespace has neither a name here nor a process is not found. What was adopted, and not, is in the log. */
export async function adoptFromKernel(parts: AgentParts): Promise<void> {
  const { wiring, store, rules, log } = parts;
  const links = wiring.listOwn();
  if (links.length === 0) return;
  const [hostPortsOf, checks] = [await rules.readHostPorts(), await rules.readSourceChecks()];
  const bridges = new Map<number, string>();
  const namespaces = new Set(namespacesBeside(wiring.identity));
  let adopted = 0;
  for (const { id, hostLink, master } of links) {
    if (id === undefined || store.get(id) !== undefined) continue;
    const found = findPod(parts, namespaces, { hostLink, ifname: id.ifname });
    const bridge = bridges.get(master) ?? wiring.nameOf(master);
    if (found === undefined || bridge === undefined) {
      log.warn({ attachment: id, hostLink }, 'the pod of this link is not found: nothing is known of its addresses');
      continue;
    }
    bridges.set(master, bridge);
    await store.adopt({
      id,
      state: 'ready',
      createdAt: 0,
      addresses: found.addresses,
      hostPorts: hostPortsOf?.({ key: attachmentKey(id), addresses: found.addresses.map(addressOf) }) ?? [],
      config: configFor(bridge, found, {
        macspoofchk: checks?.macs.has(hostLink) ?? false,
        ipspoofchk: checks?.ips.has(hostLink) ?? false,
      }),
      netns: found.netns,
      netnsId: found.netnsId,
      hostLink,
      mac: checks?.macs.get(hostLink) ?? found.mac, // a pod may have changed its own
    });
    adopted += 1;
  }
  const lost = hostPortsOf === undefined ? 'hostPorts and limits' : 'limits';
  log.error({ adopted }, `attachments were adopted from the kernel: their ${lost} are not known any more`);
}

interface FoundPod {
  readonly netns: string;
  readonly netnsId: string;
  readonly mac: string;
  readonly addresses: readonly { readonly address: string; readonly gateway?: string }[];
  readonly isDefaultGateway: boolean;
}

/** A namespace that can't be entered is nobody's from then on. */
function findPod(
  { wiring, log }: AgentParts,
  namespaces: Set<string>,
  link: { readonly hostLink: string; readonly ifname: string },
): FoundPod | undefined {
  for (const netns of namespaces) {
    try {
      const pod = wiring.podOf(netns, link);
      if (pod !== undefined) return { netns, netnsId: wiring.identityOf(netns), ...pod };
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      namespaces.delete(netns);
      log.warn({ netns, err: error }, 'this namespace can not be looked into for pods');
    }
  }
  return undefined;
}

/** As far as it can be told: whoever has a gateway on its bridge is masqueraded, which is what pods of a node are. */
function configFor(
  bridge: string,
  { isDefaultGateway }: FoundPod,
  checks: Pick<KeptConfig['port'], 'macspoofchk' | 'ipspoofchk'>,
): KeptConfig {
  return {
    role: 'link',
    ipMasq: isDefaultGateway,
    routes: [],
    isOfNode: true,
    port: {
      bridge,
      isGateway: isDefaultGateway,
      isDefaultGateway,
      forceAddress: false,
      hairpin: true,
      promisc: false,
      isolated: false,
      vlanTrunk: [],
      preserveDefaultVlan: false,
      ...checks,
      dad: false,
      isUp: true,
    },
  };
}

/** Paths of all namespaces but our own, each once: by their names, and by processes where they have none. */
function namespacesBeside(own: string): readonly string[] {
  const named = NAMESPACES.flatMap(directory => namesIn(directory).map(name => join(directory, name)));
  const processes = namesIn('/proc').filter(name => /^\d+$/.test(name));
  const seen = new Set([own]);
  return [...named, ...processes.map(pid => `/proc/${pid}/ns/net`)].filter(path => {
    const identity = identityAt(path);
    if (identity === undefined || seen.has(identity)) return false;
    seen.add(identity);
    return true;
  });
}

/** As `Wiring` has it; undefined of a process that has ended, or may not be looked into. */
function identityAt(path: string): string | undefined {
  try {
    const { dev, ino } = statSync(path);
    return `${dev}:${ino}`;
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined;
    throw error;
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
