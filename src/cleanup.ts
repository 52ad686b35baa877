import packageFile from '../package.json' with { type: 'json' };
import { type Mode, ModeUnavailableError } from './backends/mode.ts';
import { removeCniRules } from './cni/rules/removal.ts';
import { defaultConfiguration } from './config/load.ts';
import { removeNodeAddresses } from './dns/node-address/removal.ts';
import { FileLock, holderText } from './lifecycle/lock.ts';
import { prepareRuntimeDir } from './lifecycle/runtime-dir.ts';
import { createLogger } from './log.ts';
import { loadModes } from './modes.ts';
import { findKubeProxy } from './take-over/kube-proxy-process.ts';

/**
 * `kproxy-ts cleanup`: takes our rules out of this network namespace, of every mode (both variants of iptables) and both families, the rules of pods' networks, the addresses of the DNS Service that we made this node's, and nothing else: what kube-proxy programs, or left and nobody adopted, stays. Refuses (exit status 1) while a daemon
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
  const log = createLogger({ level: 'error' });
  const [addresses, rules, pods] = await Promise.allSettled([
    removeNodeAddresses(),
    removeAllModes(),
    removeCniRules(log),
  ]);
  if (addresses.status === 'fulfilled' && addresses.value.length > 0)
    process.stdout.write(`${addresses.value.join(', ')}: no longer on this node\n`);
  if (rules.status === 'fulfilled') process.stdout.write(`${rules.value} chains and rules of kproxy-ts removed\n`);
  const errors = [addresses, rules, pods].flatMap(result => (result.status === 'rejected' ? [result.reason] : []));
  if (errors.length > 0) throw joined(errors);
  return 0;
}

/** Whatever a mode can't remove, the others are removed. A mode of which nothing is on this node has nothing in the kernel, unless that is so of all. */
async function removeAllModes(): Promise<number> {
  const modes = await loadModes();
  const failed: unknown[] = [];
  let count = 0;
  for (const mode of modes) {
    if (await isKubeProxys(mode)) continue;
    try {
      count += await mode.removeEverywhere();
    } catch (error) {
      failed.push(error);
    }
  }
  const areAllMissing = failed.length === modes.length && failed.every(error => error instanceof ModeUnavailableError);
  const errors = areAllMissing ? failed : failed.filter(error => !(error instanceof ModeUnavailableError));
  if (errors.length === 0) return count;
  throw joined(errors);
}

function joined(errors: readonly unknown[]): AggregateError {
  const texts = errors.map(error => (error instanceof Error ? error.message : String(error)));
  return new AggregateError(errors, texts.join('\n'));
}

/** Whether the rules of a mode, which look the same whoever wrote them, are kube-proxy's. */
async function isKubeProxys({ name, kubeProxy }: Mode): Promise<boolean> {
  if (!kubeProxy.areShared) return false;
  const signs = await findKubeProxy({ addresses: defaultConfiguration().configuration });
  const isLeft = signs.length === 0 && (await kubeProxy.find()).length > 0;
  if (signs.length === 0 && !isLeft) return false;
  const why = isLeft
    ? 'kube-proxy programmed them, and nobody adopted them'
    : `kube-proxy runs here (${signs.join('; ')})`;
  process.stdout.write(`rules of the mode ${name} stay: ${why}\n`);
  return true;
}
