/** The command line. What a command needs is imported when it runs, so that `run` doesn't carry the lab in memory. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import packageFile from '../package.json' with { type: 'json' };
import { ConfigurationError } from './config/error.ts';
import type { LoadedConfiguration } from './config/load.ts';
import { isOurMistake, LOG_LEVELS, type LogLevel } from './log-level.ts';

const RUNTIME_DIR = '/run/kproxy-ts';
const USAGE_ERROR = 2;

interface RunFlags {
  readonly config?: string;
  readonly source?: string;
  readonly runtimeDir: string;
  readonly hostnameOverride?: string;
  readonly v?: number;
  readonly logLevel?: LogLevel;
}

interface DumpFlags {
  readonly output: 'table' | 'json';
  readonly runtimeDir: string;
}

/** Runs the command that `argv` names (without program names) and resolves to the exit status: 2 for wrong usage. */
async function main(argv: readonly string[]): Promise<number> {
  let status = 0;
  const program = buildProgram(result => {
    status = result;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE_ERROR; // commander has said why
    process.stderr.write(`${errorText(error)}\n`);
    return 1;
  }
}

function buildProgram(finish: (status: number) => void): Command {
  const program = new Command('kproxy-ts')
    .description(packageFile.description)
    .version(packageFile.version)
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError("(see 'kproxy-ts --help')");
  addRun(program, finish);
  addDump(program, finish);
  program
    .command('cleanup')
    .description('take our rules out of this network namespace, and nothing else; no daemon may run')
    .addOption(runtimeDirOption())
    .action(async (flags: { runtimeDir: string }) => {
      finish(await (await import('./cleanup.ts')).cleanupCommand(flags));
    });
  addConfigCheck(program);
  program
    .command('lab')
    .description('a small cluster in network namespaces on this machine')
    .argument('[args...]')
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: string[]) => finish(await (await import('./lab/command.ts')).labCommand(args)));
  program
    .command('version')
    .description('print the version')
    .action(() => print(`kproxy-ts ${packageFile.version}, Node ${process.version}`));
  return program;
}

function addRun(program: Command, finish: (status: number) => void): void {
  const logLevel = new Option('--log-level <level>', 'the least important lines to log').choices(LOG_LEVELS);
  program
    .command('run')
    .description('serve the Services of this node until SIGTERM; the rules stay in place')
    .option('--config <file>', 'a KubeProxyConfiguration, as kube-proxy takes it')
    .addOption(
      new Option('--source <source>', 'dir:PATH = manifests there instead of an API server').argParser(parseSource),
    )
    .addOption(runtimeDirOption())
    .option('--hostname-override <name>', 'the name of this Node object')
    .addOption(
      new Option('--v <number>', "kube-proxy's log level: from 4 on debug, from 6 on trace").argParser(parseVerbosity),
    )
    .addOption(logLevel.conflicts('v'))
    .action(async (flags: RunFlags) => finish(await run(flags)));
}

async function run(flags: RunFlags): Promise<number> {
  const { defaultConfiguration, loadConfiguration, parseConfiguration } = await import('./config/load.ts');
  const { config: path, source, logLevel } = flags;
  const loaded = path === undefined ? defaultConfiguration() : await loadConfiguration(path);
  const { runDaemon } = await import('./daemon.ts');
  return runDaemon({
    version: packageFile.version,
    loaded: withFlags(loaded, flags),
    ...(path === undefined
      ? {}
      : { configurationFile: { path, parse: (text, name) => withFlags(parseConfiguration(text, name), flags) } }),
    ...(source === undefined ? {} : { source }),
    runtimeDir: flags.runtimeDir,
    ...(logLevel === undefined ? {} : { logLevel }),
  });
}

/** These flags win over the file, as in kube-proxy. */
function withFlags(loaded: LoadedConfiguration, { hostnameOverride = '', v }: RunFlags): LoadedConfiguration {
  const nodeName = hostnameOverride.trim().toLowerCase();
  const { configuration } = loaded;
  return {
    ...loaded,
    configuration: {
      ...configuration,
      ...(nodeName === '' ? {} : { nodeName }),
      ...(v === undefined ? {} : { verbosity: v }),
    },
  };
}

function addDump(program: Command, finish: (status: number) => void): void {
  program
    .command('dump')
    .description(
      'show what this node serves and what its kernel has: asks the daemon or, without one, reads the kernel alone',
    )
    .argument('[service...]', 'only these: name, namespace/name, either with :port')
    .addOption(new Option('-o, --output <format>', 'how to show it').choices(['table', 'json']).default('table'))
    .addOption(runtimeDirOption())
    .action(async (services: string[], { output, runtimeDir }: DumpFlags) => {
      const { dumpCommand } = await import('./dump/command.ts');
      finish(await dumpCommand({ services, output, runtimeDir }));
    });
}

function addConfigCheck(program: Command): void {
  program
    .command('config')
    .description('about configuration files')
    .command('check')
    .description('say what is wrong with a configuration file, and what in it has no effect')
    .argument('<file>')
    .action(async (file: string) => {
      const { loadConfiguration } = await import('./config/load.ts');
      const { warnings } = await loadConfiguration(file);
      for (const warning of warnings) process.stderr.write(`${file}: warning: ${warning}\n`);
      print(`${file}: valid`);
    });
}

function runtimeDirOption(): Option {
  return new Option('--runtime-dir <dir>', 'where the daemon keeps its socket')
    .env('KPROXY_TS_RUNTIME_DIR')
    .default(RUNTIME_DIR);
}

function parseSource(text: string): string {
  if (/^dir:./.test(text)) return text;
  throw new InvalidArgumentError('must be dir:PATH.');
}

function parseVerbosity(text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new InvalidArgumentError('must be a whole number.');
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** One clear line for what can go wrong in the world; with the stack only for what is our mistake. */
function errorText(error: unknown): string {
  if (!(error instanceof Error)) return `kproxy-ts: ${String(error)}`;
  if (error instanceof ConfigurationError) return error.message;
  return isOurMistake(error) ? `kproxy-ts: please report this: ${error.stack}` : `kproxy-ts: ${error.message}`;
}

// A reader that has seen enough (`kproxy-ts dump | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
process.exitCode = await main(process.argv.slice(2));
// Whatever still holds the loop then must not hold the process.
setTimeout(() => process.exit(), 2000).unref();
