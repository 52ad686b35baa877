/** Services by address. Most addresses lead to one Service, and there are many of them: no list for each, and no text for IPv4. */
import { parseIPv4 } from '../../net/ip.ts';
import type { DnsService } from './dns-service.ts';

export class AddressIndex {
  readonly #services = new Map<string | number, DnsService | readonly DnsService[]>();

  /** By namespace and name. */
  get(ip: string): readonly DnsService[] {
    const found = this.#services.get(keyOf(ip));
    if (found === undefined) return [];
    return isList(found) ? found.toSorted(byName) : [found];
  }

  add(ip: string, service: DnsService): void {
    const key = keyOf(ip);
    const known = this.#services.get(key);
    if (known === undefined || known === service) this.#services.set(key, service);
    else if (!isList(known)) this.#services.set(key, [known, service]);
    else if (!known.includes(service)) this.#services.set(key, [...known, service]);
  }

  remove(ip: string, service: DnsService): void {
    const key = keyOf(ip);
    const known = this.#services.get(key);
    if (known === undefined) return;
    const left = (isList(known) ? known : [known]).filter(other => other !== service);
    const [first, second] = left;
    if (first === undefined) this.#services.delete(key);
    else this.#services.set(key, second === undefined ? first : left);
  }
}

/** The signed 32 bits of an IPv4 address, which V8 keeps without an object of their own. */
function keyOf(ip: string): string | number {
  const bits = parseIPv4(ip);
  return bits === undefined ? ip : bits | 0;
}

function isList(found: DnsService | readonly DnsService[]): found is readonly DnsService[] {
  return Array.isArray(found);
}

function byName(one: DnsService, other: DnsService): number {
  const [a, b] = [`${one.namespace}/${one.name}`, `${other.namespace}/${other.name}`];
  return a < b ? -1 : a > b ? 1 : 0;
}
