import { placeLocalnetGuard } from './backends/iptables/localnet.ts';
import { hasLocalhostNodePorts } from './backends/iptables/options.ts';
import type { LoadedConfiguration } from './config/load.ts';
import { localnetSysctl } from './conntrack/settings.ts';
import { loadConntrack } from './linux/conntrack.ts';
import { conntrackSettings, settingsWriter } from './linux/sysctl.ts';
import { createLogger, type LogLevel } from './log.ts';
import { levelOfVerbosity } from './log-level.ts';

export interface InitOptions {
  readonly loaded: LoadedConfiguration;
  readonly logLevel?: LogLevel;
}

/**
 * `kproxy-ts run --init-only`: what a daemon can't do without write access to /proc/sys, once for all daemons after it. What can't be
 * written is named in a warning, as the daemon does it. Resolves to the exit status.
 */
export async function initCommand({ loaded, logLevel }: InitOptions): Promise<number> {
  const { configuration, warnings } = loaded;
  const log = createLogger({ level: logLevel ?? levelOfVerbosity(configuration.verbosity) });
  for (const warning of warnings) log.warn({ component: 'config' }, warning);
  const setSettings = settingsWriter({ log, load: loadConntrack });
  // Nothing routes packets to 127.0.0.0/8 before the rules are there that keep the network away from it.
  const isGuarded = hasLocalhostNodePorts(configuration) && (await placeLocalnetGuard(configuration, log));
  await setSettings([...conntrackSettings(configuration.conntrack), ...localnetSysctl(isGuarded)]);
  log.info({ component: 'lifecycle' }, 'the privileged set-up is done');
  return 0;
}
