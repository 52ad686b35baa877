import { FAMILIES } from '../../backends/iptables/tools.ts';
import { NftSocket } from '../../linux/nf-tables.ts';
import type { IPFamily } from '../../net/ip.ts';
import { subsystemLack } from './choosing.ts';
import { Forwarding, type ForwardingOptions } from './forwarding.ts';
import { IptablesTables } from './iptables-tables.ts';
import { legacyTables } from './legacy-tables.ts';
import { NftTables } from './nft-tables.ts';

/** Takes the rules of pods' networks out of this network namespace, whichever tables they are in; their links and addresses stay. @throws NetlinkError, CniError, ExecError, Error with what stays */
export async function removeCniRules(log: ForwardingOptions['log']): Promise<void> {
  using socket = new NftSocket();
  const kernel = (await subsystemLack()) === undefined ? socket : undefined;
  if (kernel !== undefined) await new NftTables({ kernel, log }).removeAll();
  const families: IPFamily[] = [];
  for (const family of FAMILIES) if ((await legacyTables(family)).some(isUsed)) families.push(family);
  await new IptablesTables({ families, log }).removeAll();
  const { problems } = await new Forwarding({ kernel, log }).removeForwarding();
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

/** A table that nobody has asked for can have nothing of ours; to ask would load it. */
const isUsed = (table: string) => table === 'nat' || table === 'filter';
