import { NftSocket } from '../../linux/nf-tables.ts';
import { CniRules } from './cni-rules.ts';
import { Forwarding, type ForwardingOptions } from './forwarding.ts';
import { NftTables } from './nft-tables.ts';

/** Takes the rules of pods' networks out of this network namespace; their links and addresses stay. @throws NetlinkError, CniError, Error with what stays */
export async function removeCniRules(log: ForwardingOptions['log']): Promise<void> {
  using kernel = new NftSocket();
  await new CniRules({ tables: new NftTables({ kernel, log }), log }).cleanup();
  const { problems } = await new Forwarding({ kernel, log }).removeForwarding();
  if (problems.length > 0) throw new Error(problems.join('\n'));
}
