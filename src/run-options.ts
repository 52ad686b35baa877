/** The options of `run`: our own, and those of kube-proxy, made from the one list of them. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { runtimeDirOption } from './command-options.ts';
import { FIELD_FLAGS, type Flag, type FlagKind, type GivenFlags, OTHER_FLAGS } from './config/flags.ts';
import { LOG_LEVELS, type LogLevel } from './log-level.ts';

const BESIDE_FILE = "kube-proxy's flags, also with --config:";
const INSTEAD_OF_FILE = "kube-proxy's flags, ignored with --config as in kube-proxy:";

export interface RunFlags {
  readonly config?: string;
  readonly source?: string;
  readonly runtimeDir: string;
  readonly logLevel?: LogLevel;
  readonly writeConfigTo?: string;
  readonly cleanup?: boolean;
  readonly initOnly?: boolean;
  readonly takeOver?: boolean;
}

/** What stands for the value in the help. */
const PLACEHOLDERS: Readonly<Record<FlagKind, string>> = {
  text: '<text>',
  boolean: '[true|false]',
  number: '<number>',
  duration: '<duration>',
  period: '<duration>',
  list: '<list>',
  gates: '<name=true,…>',
  vmodule: '<file=number,…>',
};

/** Adds every option of `run`. */
export function addRunOptions(command: Command): Command {
  command
    .option('--config <file>', 'a KubeProxyConfiguration, as kube-proxy takes it; it is followed while the daemon runs')
    .addOption(
      new Option('--source <source>', 'dir:PATH = manifests there instead of an API server').argParser(parseSource),
    )
    .addOption(runtimeDirOption())
    .addOption(
      booleanOption('take-over', 'adopt a node that kube-proxy programmed and take its rules away; not while it lives'),
    )
    .addOption(new Option('--log-level <level>', 'the least important lines to log').choices(LOG_LEVELS).conflicts('v'))
    .option('--write-config-to <file>', 'write the configuration there, with defaults filled in, and end')
    .addOption(booleanOption('cleanup', 'do what the command cleanup does, and end'))
    .addOption(booleanOption('init-only', "make the kernel's settings, which takes privileges, and end"));
  for (const option of kubeProxyOptions()) command.addOption(option);
  const hidden = [...FIELD_FLAGS, ...OTHER_FLAGS].filter(({ help }) => help === '').map(({ name }) => `--${name}`);
  return command.addHelpText('after', `\nTaken as well, but without effect in this version:\n${wrapped(hidden)}`);
}

function kubeProxyOptions(): Option[] {
  const all = [...FIELD_FLAGS.map(flag => ({ flag, option: fieldOption(flag) })), ...OTHER_FLAGS.map(otherOption)];
  const groupOf = ({ flag }: (typeof all)[number]) => Number(flag.isBesideFile !== true);
  return all
    .toSorted((a, b) => groupOf(a) - groupOf(b) || (a.flag.name < b.flag.name ? -1 : 1))
    .map(({ flag: { help, isBesideFile }, option }) =>
      option.helpGroup(isBesideFile === true ? BESIDE_FILE : INSTEAD_OF_FILE).hideHelp(help === ''),
    );
}

/** pflag's ways to write a flag: `--flag=value`, `--flag value`, and `--flag` alone for true; lists may be given twice. */
function fieldOption({ name, kind, help }: Flag): Option {
  const option = new Option(`${name === 'v' ? '-v, ' : ''}--${name} ${PLACEHOLDERS[kind]}`, help);
  if (kind === 'list' || kind === 'gates' || kind === 'vmodule') option.argParser(joined);
  if (name === 'v') option.argParser((text: string) => text.replace(/^=/, '')); // pflag takes -v=4 too
  return option;
}

function otherOption(flag: (typeof OTHER_FLAGS)[number]) {
  return { flag, option: new Option(`--${flag.name} <text>`, flag.help) };
}

function joined(text: string, before: string | undefined): string {
  return before === undefined ? text : `${before},${text}`;
}

function booleanOption(name: string, help: string): Option {
  return new Option(`--${name} [true|false]`, help).argParser(parseBoolean);
}

/** The flags of kube-proxy that were given. */
export function givenFlags(command: Command): GivenFlags {
  const values = command.opts<Readonly<Record<string, string | true | undefined>>>();
  const given = [...FIELD_FLAGS, ...OTHER_FLAGS].flatMap(({ name }): (readonly [string, string])[] => {
    const value = values[new Option(`--${name}`).attributeName()];
    return value === undefined ? [] : [[name, String(value)]];
  });
  return Object.fromEntries(given);
}

/** Words in lines that fit a terminal. */
function wrapped(words: readonly string[]): string {
  return words.reduce((text, word) => {
    const isFull = text.length - text.lastIndexOf('\n') + word.length > 100;
    return `${text}${isFull ? '\n ' : ''} ${word}`;
  }, ' ');
}

function parseSource(text: string): string {
  if (/^dir:./.test(text)) return text;
  throw new InvalidArgumentError('must be dir:PATH.');
}

function parseBoolean(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw new InvalidArgumentError('must be true or false.');
}
