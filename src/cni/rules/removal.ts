import { chooseTarget } from './choose.ts';
import { CniRules } from './cni-rules.ts';
import { Forwarding } from './forwarding.ts';
import type { RulesLog } from './target.ts';

/** Takes the rules of pods' networks out of this network namespace; their links and addresses stay. @throws NetlinkError, CniError, ExecError, Error with what stays */
export async function removeCniRules(log: RulesLog): Promise<void> {
  using chosen = await chooseTarget(log);
  await new CniRules({ target: chosen.target, log }).cleanup();
  const { problems } = await new Forwarding({ kernel: chosen.kernel, log }).removeForwarding();
  if (problems.length > 0) throw new Error(problems.join('\n'));
}
