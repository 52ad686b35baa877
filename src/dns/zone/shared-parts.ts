/**
 * What many Services have in common, once: what comes from another thread has its own copy of every text and list, and most Services have the same few ports.
 */
import type { DnsPort, DnsService } from './dns-service.ts';

/** Beyond that it begins anew: what is shared stays so, and what is gone isn't held for ever. */
const MOST_PARTS = 4096;
const NONE: readonly never[] = [];

export class SharedParts {
  readonly #texts = new Map<string, string>();
  readonly #ports = new Map<string, readonly DnsPort[]>();

  service({ namespace, name, kind, clusterIPs, externalName, ports, groups }: DnsService): DnsService {
    return {
      namespace: this.#text(namespace),
      name,
      kind: this.#text(kind) as DnsService['kind'],
      clusterIPs: clusterIPs.length === 0 ? NONE : clusterIPs,
      externalName,
      ports: this.#portsOf(ports),
      groups:
        groups.length === 0 ? NONE : groups.map(group => ({ ports: this.#portsOf(group.ports), packed: group.packed })),
    };
  }

  #text(text: string): string {
    return shared(this.#texts, text, text);
  }

  #portsOf(ports: readonly DnsPort[]): readonly DnsPort[] {
    if (ports.length === 0) return NONE;
    const key = ports.map(({ name, protocol, port }) => `${name} ${protocol} ${port}`).join('\n');
    return shared(this.#ports, key, ports);
  }
}

function shared<Part>(parts: Map<string, Part>, key: string, part: Part): Part {
  const known = parts.get(key);
  if (known !== undefined) return known;
  if (parts.size >= MOST_PARTS) parts.clear();
  parts.set(key, part);
  return part;
}
