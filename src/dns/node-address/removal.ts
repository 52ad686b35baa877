import { RefusedError } from '../../backends/nftables/apply.ts';
import { removeTable } from '../../backends/nftables/removal.ts';
import { ownLoopbackAddresses, removeLoopbackAddress } from '../../linux/loopback-addresses.ts';
import { NftSocket } from '../../linux/nf-tables.ts';
import type { IPFamily } from '../../net/ip.ts';
import { GUARD_TABLE } from './names.ts';

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];
const EOPNOTSUPP = 95;

/**
 * Takes away what processes leave for the next one: the addresses on `lo`, which are returned, and the tables that guard them. What a process has for
 * itself is gone with it. @throws NetlinkError, RefusedError
 */
export async function removeNodeAddresses(): Promise<readonly string[]> {
  const own = await ownLoopbackAddresses();
  for (const ip of own) await removeLoopbackAddress(ip);
  using kernel = new NftSocket();
  for (const family of FAMILIES) await removeGuard(kernel, family);
  return own;
}

/** A kernel without nf_tables has no table either. */
async function removeGuard(kernel: NftSocket, family: IPFamily): Promise<void> {
  try {
    await removeTable({ kernel, family, table: GUARD_TABLE });
  } catch (error) {
    if (!(error instanceof RefusedError) || error.errno !== EOPNOTSUPP) throw error;
  }
}
