/** The command line. What a command needs is imported when it runs, so that `run` doesn't carry the lab in memory. */

import { Command, CommanderError, Option } from 'commander';
import packageFile from '../package.json' with { type: 'json' };
import { runtimeDirOption } from './command-options.ts';
import { ConfigurationError } from './config/error.ts';
import { closeIdleNetfilter } from './linux/nfnetlink.ts';
import { isOurMistake } from './log-level.ts';
import { addRunOptions, givenFlags, type RunFlags } from './run-options.ts';

const USAGE_ERROR = 2;

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
  addDnsQuery(program);
  addIpam(program, finish);
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
  const command = program
    .command('run')
    .description('serve the Services of this node until SIGTERM; the rules stay in place');
  addRunOptions(command).action(async (flags: RunFlags) => {
    const { runCommand } = await import('./run-command.ts');
    finish(await runCommand({ flags, given: givenFlags(command), version: packageFile.version }));
  });
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

function addDnsQuery(program: Command): void {
  program
    .command('dns')
    .description('about the names that this node answers')
    .command('query')
    .description(
      'ask the daemon for a name, and say where the answer is from: which object, kept answer or upstream server',
    )
    .argument('<name>', 'whole, as web.default.svc.cluster.local')
    .argument('[type]', 'A, AAAA, SRV, PTR, ... or TYPE and a number', 'A')
    .addOption(new Option('-o, --output <format>', 'how to show it').choices(['text', 'json']).default('text'))
    .addOption(runtimeDirOption())
    .action(
      async (name: string, type: string, flags: { readonly output: 'text' | 'json'; readonly runtimeDir: string }) => {
        const { queryCommand } = await import('./dns/host/query-command.ts');
        await queryCommand({ name, type, ...flags });
      },
    );
}

interface IpamListFlags {
  readonly output: 'table' | 'json';
  readonly runtimeDir: string;
  readonly stateDir: string;
}

interface IpamFreeFlags {
  readonly container?: string;
  readonly force?: true;
  readonly runtimeDir: string;
}

function addIpam(program: Command, finish: (status: number) => void): void {
  const ipam = program.command('ipam').description('about the addresses of the pods of this node');
  ipam
    .command('list')
    .description('show who has which address: asks the daemon or, without one, reads its database')
    .addOption(new Option('-o, --output <format>', 'how to show it').choices(['table', 'json']).default('table'))
    .addOption(new Option('--state-dir <dir>', 'where the daemon keeps its database').default('/var/lib/kproxy-ts'))
    .addOption(runtimeDirOption())
    .action(async (flags: IpamListFlags) => {
      await (await import('./cni/ipam/ipam-command.ts')).ipamListCommand(flags);
    });
  ipam
    .command('free')
    .description('take an address, or all of a container, away from a pod that is gone')
    .argument('[network]', 'name of the network')
    .argument('[address]')
    .option('--container <id>', 'all that this container has')
    .option('--force', 'even if the namespace of the pod lives')
    .addOption(runtimeDirOption())
    .action(async (network: string | undefined, address: string | undefined, flags: IpamFreeFlags) => {
      const { ipamFreeCommand } = await import('./cni/ipam/ipam-command.ts');
      const { container, force = false, runtimeDir } = flags;
      finish(await ipamFreeCommand({ network, address, container, isForced: force, runtimeDir }));
    });
}

function addConfigCheck(program: Command): void {
  program
    .command('config')
    .description('about configuration files')
    .command('check')
    .description('say what is wrong with a configuration file, and what in it has no effect')
    .argument('<file>', '- = the standard input')
    .addOption(new Option('-o, --output <format>', 'show it whole, with defaults filled in').choices(['yaml']))
    .action(async (file: string, flags: { readonly output?: 'yaml' }) => {
      const { checkCommand } = await import('./config/check-command.ts');
      await checkCommand({ file, ...flags });
    });
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
closeIdleNetfilter();
// Whatever still holds the loop then must not hold the process.
setTimeout(() => process.exit(), 2000).unref();
