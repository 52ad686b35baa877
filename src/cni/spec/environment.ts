/** The variables that a runtime gives. Pure. */
import { CniError, CODE } from '../types.ts';
import { type Arguments, readArguments, readableArguments } from './arguments.ts';

const COMMANDS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
export type Command = (typeof COMMANDS)[number];
export type Verb = Exclude<Command, 'VERSION'>;
export type Variables = Readonly<Record<string, string>>;

export interface Environment {
  /** '' for GC and STATUS, as the next three. */
  readonly containerID: string;
  readonly ifname: string;
  /** '' also where a DEL names none. */
  readonly netns: string;
  readonly args: Arguments;
  /** Directories of CNI_PATH, in order. */
  readonly path: readonly string[];
}

const NEEDED: Readonly<Record<Verb, readonly string[]>> = {
  ADD: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  CHECK: ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH'],
  DEL: ['CNI_CONTAINERID', 'CNI_IFNAME'],
  GC: ['CNI_PATH'],
  STATUS: [],
};

/** IFNAMSIZ without the NUL. */
const MAX_IFNAME_BYTES = 15;
const IDENTIFIER = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** Names of networks and containers. */
export const isIdentifier = (text: string) => IDENTIFIER.test(text);

/** Undefined = nobody asks for anything. @throws CniError 4 */
export function readCommand(variables: Variables): Command | undefined {
  const text = variables.CNI_COMMAND ?? '';
  if (text === '') return undefined;
  const command = COMMANDS.find(known => known === text);
  if (command === undefined) throw wrong(`unknown CNI_COMMAND: ${text}`);
  return command;
}

/** @throws CniError 4 that names every variable that is missing, or the first one that can't be used */
export function readEnvironment(variables: Variables, verb: Verb): Environment {
  const of = (name: string) => variables[name] ?? '';
  const missing = NEEDED[verb].filter(name => of(name) === '');
  if (missing.length > 0) throw wrong(`required environment variables missing: ${missing.join(', ')}`);
  const path = of('CNI_PATH')
    .split(':')
    .filter(directory => directory !== '');
  if (verb === 'GC' || verb === 'STATUS') return { containerID: '', ifname: '', netns: '', args: {}, path };
  const [containerID, ifname] = [of('CNI_CONTAINERID'), of('CNI_IFNAME')];
  if (!isIdentifier(containerID)) throw wrong(`CNI_CONTAINERID: ${JSON.stringify(containerID)} has wrong characters`);
  if (!isLinkName(ifname)) throw wrong(`CNI_IFNAME: ${JSON.stringify(ifname)} is no name that a link can have`);
  const args = verb === 'DEL' ? readableArguments(of('CNI_ARGS')) : readArguments(of('CNI_ARGS'));
  return { containerID, ifname, netns: of('CNI_NETNS'), args, path };
}

/** As the kernel's dev_valid_name() has it, of which `%` makes a pattern; what isn't ASCII, tools show each in its own way. */
export function isLinkName(text: string): boolean {
  return /^[!-~]+$/.test(text) && !/[/:%]|^\.{1,2}$/.test(text) && text.length <= MAX_IFNAME_BYTES;
}

const wrong = (message: string) => new CniError(CODE.badEnvironment, message);
