import packageFile from '../package.json' with { type: 'json' };
import { removeEverywhere } from './backends/iptables/removal.ts';
import { FileLock, holderText } from './lifecycle/lock.ts';
import { prepareRuntimeDir } from './lifecycle/runtime-dir.ts';

/**
 * `kproxy-ts cleanup`: takes our rules out of this network namespace, of both variants of iptables and both families, and nothing else. Refuses (exit status 1) while a daemon
 * has the lock, which would go on without knowing that its rules are gone; a daemon that starts meanwhile waits. Rejects when
 * some cannot be removed.
 */
export async function cleanupCommand({ runtimeDir }: { runtimeDir: string }): Promise<number> {
  const paths = await prepareRuntimeDir(runtimeDir);
  const lock = new FileLock({ path: paths.lock, what: `kproxy-ts ${packageFile.version} cleanup` });
  using held = await lock.tryAcquire();
  if (held === undefined) {
    const holder = holderText(lock.holder());
    process.stderr.write(`${holder} runs here (it holds ${paths.lock}): stop it first, it would miss its rules\n`);
    return 1;
  }
  const removed = await removeEverywhere();
  process.stdout.write(`${removed} chains and rules of kproxy-ts removed\n`);
  return 0;
}
