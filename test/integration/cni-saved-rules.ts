import type { CniNode } from './cni-node.ts';

/** Lines of the old iptables of both families, without what counts packets. */
export async function savedRules(node: CniNode): Promise<readonly string[]> {
  const saves = ['iptables-legacy-save', 'ip6tables-legacy-save'].map(program => node.exec([program]));
  const texts = (await Promise.all(saves)).map(({ stdout }) => stdout.replaceAll(/^#.*\n| \[\d+:\d+\]$/gm, ''));
  return texts.join('').split('\n');
}
