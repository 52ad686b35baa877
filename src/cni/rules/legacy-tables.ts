/** Which of the old iptables' tables this network namespace has. Loads none. */
import { readFile } from 'node:fs/promises';
import type { IPFamily } from '../../net/ip.ts';

/** One a line; missing where the kernel has none. */
const NAMES: Readonly<Record<IPFamily, string>> = {
  IPv4: '/proc/net/ip_tables_names',
  IPv6: '/proc/net/ip6_tables_names',
};

export async function legacyTables(family: IPFamily): Promise<readonly string[]> {
  try {
    return (await readFile(NAMES[family], 'utf8')).split('\n').filter(name => name !== '');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
