import { IPTABLES_NFT, removeAll } from './backends/iptables/backend.ts';

/** `kproxy-ts cleanup`: takes our rules out of this network namespace, and nothing else. Rejects when some cannot go. */
export async function cleanupCommand(): Promise<number> {
  const removed = await removeAll({ tools: IPTABLES_NFT });
  process.stdout.write(`${removed} chains and rules of kproxy-ts removed\n`);
  return 0;
}
