/** What a complete list of everything is that names are made of. */
import type { DnsConfiguration } from '../../config/dns-fields.ts';
import type { Kind } from '../../watch/objects.ts';
import type { Store } from '../../watch/store.ts';

type Names = Pick<DnsConfiguration, 'pods'>;

export function isListed(store: Store, dns: Names): boolean {
  return store.isSynced && kindsOf(dns).every(kind => store.hasListed(kind));
}

/** Resolves as soon as it is. */
export async function listed(store: Store, dns: Names): Promise<void> {
  await Promise.all([store.synced, ...kindsOf(dns).map(kind => store.listed(kind))]);
}

/** Beside what every node needs. */
function kindsOf({ pods }: Names): readonly Kind[] {
  return pods === 'verified' ? ['Namespace', 'Pod'] : ['Namespace'];
}
