import type { LoadedConfiguration } from './config/load.ts';
import { loadConntrack } from './linux/conntrack.ts';
import { conntrackSettings, settingsWriter } from './linux/sysctl.ts';
import { createLogger, type LogLevel } from './log.ts';
import { levelOfVerbosity } from './log-level.ts';
import { chooseMode } from './modes.ts';

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
  const mode = await chooseMode(configuration, log);
  const ofMode = await mode.prepareNode(configuration, log);
  await setSettings([...conntrackSettings(configuration.conntrack), ...ofMode]);
  log.info({ component: 'lifecycle' }, 'the privileged set-up is done');
  return 0;
}
