/** Another IPAM plugin, which this one calls as the specification's section 4 has it. */

import type { Verb } from '../spec/environment.ts';
import { readError } from '../spec/errors.ts';
import { isObject, type Json } from '../spec/json.ts';
import { inexpressible } from '../spec/print-result.ts';
import { readResult } from '../spec/read-result.ts';
import { isSupported } from '../spec/versions.ts';
import { CniError, type CniResult, CODE } from '../types.ts';
import { type Call, endedEarly, isFailed, warn } from './call.ts';
import type { Failed } from './host.ts';

/** These mean the agent's own IPAM. */
const OWN: ReadonlySet<string> = new Set(['kproxy-cni', 'host-local']);

export const isOwnIpam = (ipamType: string) => OWN.has(ipamType);

/** Of what a program says in place of an error, in characters. */
const MAX_QUOTED = 1000;

/**
 * What a program may take, in milliseconds. With all that may follow (the agent, its DEL and the program's own), an ADD ends within the two
 * minutes that kubelet gives a runtime; a DHCP client needs half a minute.
 */
export const DELEGATE_TIMEOUT_MS = { ADD: 60_000, CHECK: 30_000, DEL: 30_000, GC: 30_000, STATUS: 10_000 } as const;

export interface Delegate {
  readonly type: string;
  readonly path: string;
}

/** The same call with another section `ipam`, however the configuration spells that. */
export function withIpam(call: Call, ipam: Json): Call {
  const others = Object.entries(JSON.parse(call.stdin) as Json).filter(([key]) => key.toLowerCase() !== 'ipam');
  const ipamType = typeof ipam.type === 'string' ? ipam.type : '';
  const stdin = JSON.stringify({ ...Object.fromEntries(others), ipam });
  return { ...call, stdin, configuration: { ...call.configuration, ipamType } };
}

/** Undefined = the agent gives out the addresses, if there are any. @throws CniError 7 where CNI_PATH doesn't have the program */
export function findDelegate({ host, environment, configuration: { ipamType } }: Call): Delegate | undefined {
  if (ipamType === '' || isOwnIpam(ipamType)) return undefined;
  const wrong = (problem: string, details = '') =>
    new CniError(CODE.badConfiguration, `ipam.type: ${JSON.stringify(ipamType)} ${problem}`, details);
  if (ipamType.includes('/')) throw wrong('is no name of a plugin');
  const path = environment.path.map(directory => `${directory}/${ipamType}`).find(file => host.isExecutable(file));
  if (path === undefined) throw wrong('is not in CNI_PATH', `CNI_PATH=${environment.path.join(':')}`);
  return { type: ipamType, path };
}

/** What it gives. Whatever fails is undone. @throws CniError */
export function addByDelegate(call: Call, delegate: Delegate): CniResult {
  try {
    const result = resultOf(call, delegate, execute(call, delegate));
    const problem = inexpressible(result, call.configuration.version);
    if (problem !== undefined) throw problem;
    if ((result.ips ?? []).length === 0)
      throw new CniError(CODE.io, `${delegate.type}: IPAM plugin returned missing IP config`);
    return result;
  } catch (error) {
    undoByDelegate(call, delegate);
    throw error;
  }
}

/** After an ADD that failed, whose error is the one to tell: that of the undoing is a warning. */
export function undoByDelegate(call: Call, delegate: Delegate): void {
  call.host.shield();
  try {
    execute({ ...call, verb: 'DEL' }, delegate, { CNI_COMMAND: 'DEL' });
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    warn(call.host, `${delegate.type} did not take back what it gave: ${error.message} ${error.details}`);
  }
}

/** The same verb. @throws CniError what it says */
export function forward(call: Call, delegate: Delegate | undefined): void {
  if (delegate !== undefined) execute(call, delegate);
}

/** The standard output. @throws CniError */
function execute(
  { host, stdin, verb }: Call,
  { type, path }: Delegate,
  overrides?: Readonly<Record<string, string>>,
): string {
  const outcome = host.execute(path, stdin, DELEGATE_TIMEOUT_MS[verb], overrides);
  if (isFailed(outcome)) throw unfinished(type, verb, outcome);
  if (outcome.status === 0) return outcome.stdout;
  throw (
    readError(jsonOf(outcome.stdout)) ??
    new CniError(CODE.io, `${type}: failed with status ${outcome.status}`, outcome.stdout.slice(0, MAX_QUOTED))
  );
}

function unfinished(type: string, verb: Verb, { failure, message }: Failed<'io' | 'timeout' | 'ended'>): CniError {
  if (failure === 'io') return new CniError(CODE.io, `${type}: could not be run`, message);
  if (failure === 'ended') return endedEarly(`while ${type} was at work`);
  const seconds = DELEGATE_TIMEOUT_MS[verb] / 1000;
  return new CniError(CODE.tryAgain, `${type}: did not finish its ${verb} in ${seconds} s, and was ended`);
}

function resultOf({ configuration }: Call, { type }: Delegate, stdout: string): CniResult {
  const value = jsonOf(stdout);
  if (!isObject(value)) throw new CniError(CODE.io, `${type}: gave no result`, stdout.slice(0, MAX_QUOTED));
  const { cniVersion } = value;
  return readResult(value, isSupported(cniVersion) ? cniVersion : configuration.version, `result of ${type}`);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
