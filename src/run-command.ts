import { writeFile } from 'node:fs/promises';
import { configurationText } from './config/document-text.ts';
import { ConfigurationError } from './config/error.ts';
import type { GivenFlags } from './config/flags.ts';
import {
  defaultConfiguration,
  type LoadedConfiguration,
  loadConfiguration,
  parseConfiguration,
} from './config/load.ts';
import type { RunFlags } from './run-options.ts';

export interface RunCommandOptions {
  readonly flags: RunFlags;
  /** kube-proxy's. */
  readonly given: GivenFlags;
  /** Our own version. */
  readonly version: string;
}

/** `kproxy-ts run`, and what kube-proxy does under other flags of the same command. Resolves to the exit status. */
export async function runCommand({ flags, given, version }: RunCommandOptions): Promise<number> {
  const { config: path, source, logLevel, runtimeDir, writeConfigTo } = flags;
  const loaded = path === undefined ? defaultConfiguration(given) : await loadConfiguration(path, given);
  if (writeConfigTo !== undefined) return writeConfiguration(loaded, writeConfigTo);
  if (flags.cleanup === true) return (await import('./cleanup.ts')).cleanupCommand({ runtimeDir });
  const level = logLevel === undefined ? {} : { logLevel };
  if (flags.initOnly === true) return (await import('./init-command.ts')).initCommand({ loaded, ...level });
  const takeOver =
    flags.takeOver === true
      ? await (await import('./take-over/begin.ts')).beginTakeOver({ loaded, runtimeDir })
      : undefined;
  const settle = (next: LoadedConfiguration) => takeOver?.keepMeaning(next) ?? next;
  const { runDaemon } = await import('./daemon.ts');
  return runDaemon({
    version,
    loaded: settle(loaded),
    ...(path === undefined
      ? {}
      : { configurationFile: { path, parse: (text, name) => settle(parseConfiguration(text, name, given)) } }),
    ...(takeOver === undefined ? {} : { takeOver }),
    ...(source === undefined ? {} : { source }),
    runtimeDir,
    ...level,
  });
}

async function writeConfiguration({ fields, warnings }: LoadedConfiguration, path: string): Promise<number> {
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
  try {
    await writeFile(path, configurationText(fields));
  } catch (error) {
    const message = `cannot be written: ${error instanceof Error ? error.message : String(error)}`;
    throw new ConfigurationError(path, [{ path: '', message }], { cause: error });
  }
  process.stdout.write(`${path}: written\n`);
  return 0;
}
