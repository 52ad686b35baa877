import { join } from 'node:path';
import { IPTABLES_NFT, removeAll } from './backends/iptables/backend.ts';
import { isLive, SOCKET_NAME } from './dump/server.ts';

/**
 * `kproxy-ts cleanup`: takes our rules out of this network namespace, and nothing else. Refuses (exit status 1) while a daemon
 * runs, which would go on without knowing that its rules are gone. Rejects when some cannot be removed.
 */
export async function cleanupCommand({ runtimeDir }: { runtimeDir: string }): Promise<number> {
  const socketPath = join(runtimeDir, SOCKET_NAME);
  if (await isLive(socketPath)) {
    process.stderr.write(
      `a kproxy-ts daemon runs here (${socketPath} answers): stop it first, it would miss its rules\n`,
    );
    return 1;
  }
  const removed = await removeAll({ tools: IPTABLES_NFT });
  process.stdout.write(`${removed} chains and rules of kproxy-ts removed\n`);
  return 0;
}
