/** `kproxy-ts lab`: the command line of the lab. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { createLab, type Lab, openLab } from './lab.ts';
import { checkLabName, nodes } from './layout.ts';
import { obstacle } from './netns.ts';
import { readState } from './state.ts';
import { collectStatus, isHealthy, renderStatus } from './status.ts';
import { tearDown } from './tear-down.ts';
import { runTour } from './tour.ts';

interface UpOptions {
  readonly name: string;
  readonly pods: number;
  readonly daemons: boolean;
  readonly mode: string;
}

interface TourOptions extends Omit<UpOptions, 'daemons'> {
  readonly connections: number;
}

const description =
  'A small cluster on this machine, in network namespaces of its own: two nodes with their daemons, pods that answer who they are, ' +
  'an off-cluster client and an API server. Nothing outside its namespaces is touched. Needs root.';

const examples = `
Examples:
  kproxy-ts lab tour                                             a guided look, from nothing to nothing
  kproxy-ts lab up --pods 6
  kproxy-ts lab exec client -- curl -s 192.168.77.11:30080       NodePort, from off-cluster
  kproxy-ts lab exec web-1 -- curl -s 10.96.0.80                 ClusterIP, from a pod
  kproxy-ts lab exec control -- kubectl get pods -o wide
  kproxy-ts lab status -o json
  kproxy-ts lab down
`;

/**
 * Runs `kproxy-ts lab ARGV` and resolves to the exit status: 0, or 1 when something failed or a tour saw a wrong answer, 2 for wrong
 * usage, 130 after Ctrl-C; for `exec` that of the program.
 */
export async function labCommand(argv: readonly string[]): Promise<number> {
  let status = 0;
  const program = buildProgram(result => {
    status = result;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2; // commander has said why
    process.stderr.write(`kproxy-ts lab: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

function buildProgram(finish: (status: number) => void): Command {
  const program = new Command('kproxy-ts lab').description(description).addHelpText('after', examples);
  program.exitOverride().enablePositionalOptions().showHelpAfterError('(--help shows how)');
  const pods = () => new Option('--pods <n>', 'pods of the Service web').default(4).argParser(wholeNumber(1, 100));
  const mode = () =>
    new Option('--mode <mode>', "the daemons' proxy mode; none: they choose, as on a node").default('');
  const name = () => new Option('--name <name>', 'which lab: several can be up').default('lab').argParser(checkName);
  const add = (usage: string, summary: string, ...options: Option[]) => {
    const command = program.command(usage).description(summary);
    for (const option of [...options, name()]) command.addOption(option);
    return command;
  };
  add('up', 'bring it up, and return', pods(), mode(), new Option('--no-daemons', 'leave out the daemons')).action(
    async (options: UpOptions) => finish(await up(options)),
  );
  add('exec', 'run a program in the namespace of a node, a pod, client or control')
    .argument('<member>', 'node-a, node-b, a pod, client or control')
    .argument('<command...>')
    .passThroughOptions()
    .action(async (member: string, command: string[], options: { name: string }) => {
      finish(await exec(options.name, member, command[0] === '--' ? command.slice(1) : command));
    });
  add('down', 'remove it, also what a crash left behind').action(async (options: { name: string }) => {
    finish(await down(options.name));
  });
  const output = new Option('-o, --output <format>', 'table or json').choices(['table', 'json']).default('table');
  add('status', 'what is up', output).action(async (options: { name: string; output: string }) => {
    finish(await status(options.name, options.output));
  });
  const connections = new Option('--connections <n>', 'connections on each path').default(200);
  connections.argParser(wholeNumber(50, 10_000));
  add('tour', 'a guided look that checks every answer; stays up on a terminal', pods(), mode(), connections).action(
    async (options: TourOptions) => finish(await tour(options)),
  );
  return program;
}

function wholeNumber(least: number, most: number): (text: string) => number {
  return text => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`use a whole number from ${least} to ${most}`);
  };
}

function checkName(name: string): string {
  try {
    return checkLabName(name);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

function write(text: string): void {
  process.stdout.write(text);
}

async function needRoot(): Promise<void> {
  const why = await obstacle();
  if (why !== '') throw new Error(why);
}

async function up(options: UpOptions): Promise<number> {
  await needRoot();
  return untilInterrupted(async signal => {
    const lab = await bringUp(options, signal);
    lab.handOver();
    write(`Next: kproxy-ts lab status | exec | down${options.name === 'lab' ? '' : ` --name ${options.name}`}\n`);
    return 0;
  });
}

async function bringUp(options: Omit<UpOptions, 'daemons'> & { daemons?: boolean }, signal: AbortSignal): Promise<Lab> {
  const started = performance.now();
  const lab = await createLab({ dns: true, cni: true, ...options, signal });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  write(
    `Lab '${lab.name}' is up after ${seconds} s: ${nodes.map(node => node.name).join(', ')}, ${lab.pods.length} pods, `,
  );
  write(`an off-cluster client, an API server${options.daemons === false ? '; no daemons' : ''}.\n`);
  return lab;
}

async function down(name: string): Promise<number> {
  await needRoot();
  const { processes, namespaces } = await tearDown(name);
  if (processes + namespaces === 0) write(`Lab '${name}' wasn't up.\n`);
  else write(`Lab '${name}' is gone: ended ${processes} processes, removed ${namespaces} namespaces.\n`);
  return 0;
}

async function status(name: string, format: string): Promise<number> {
  await needRoot();
  const state = readState(name);
  if (state === null) throw new Error(`no lab '${name}'`);
  const found = await collectStatus(state);
  write(format === 'json' ? `${JSON.stringify(found, null, 2)}\n` : renderStatus(found));
  return isHealthy(found) ? 0 : 1;
}

async function exec(name: string, member: string, command: readonly string[]): Promise<number> {
  await needRoot();
  const lab = openLab(name);
  const child = spawn('ip', ['netns', 'exec', lab.netns(member), ...command], {
    env: { ...process.env, ...lab.env(member) },
    stdio: 'inherit',
  });
  const ignore = () => undefined; // Ctrl-C reaches the program by itself; we only wait for what it makes of it
  process.on('SIGINT', ignore);
  try {
    return await new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
    });
  } finally {
    process.off('SIGINT', ignore);
  }
}

async function tour(options: TourOptions): Promise<number> {
  await needRoot();
  return untilInterrupted(async signal => {
    await using lab = await bringUp(options, signal);
    const { CI = '' } = process.env; // some CI gives its jobs a terminal, at which nobody sits
    const staysUp = CI === '' && process.stdin.isTTY && process.stdout.isTTY;
    const faults = await runTour({ lab, write, connections: options.connections, staysUp, signal });
    if (staysUp) {
      write('\nThe lab stays up until Ctrl-C.\n');
      await aborted(signal);
      write('\nRemoving it.\n');
    }
    return faults.length === 0 ? 0 : 1;
  });
}

/** Runs work that Ctrl-C stops. Work that throws once it was told to stop has cleaned up after itself: that's status 130. */
async function untilInterrupted(work: (signal: AbortSignal) => Promise<number>): Promise<number> {
  const controller = new AbortController();
  const stop = () => controller.abort();
  for (const name of endings) process.on(name, stop);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    process.stderr.write('kproxy-ts lab: interrupted; everything is removed again\n');
    return 130;
  } finally {
    for (const name of endings) process.off(name, stop);
  }
}

const endings = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const keepAlive = setInterval(() => undefined, 60_000); // a signal handler alone doesn't keep Node running
  await once(signal, 'abort');
  clearInterval(keepAlive);
}
