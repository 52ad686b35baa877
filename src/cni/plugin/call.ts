/** One run of the plugin, and what it needs of the machine before it can ask anybody. */
import type { Configuration } from '../spec/configuration.ts';
import type { Environment, Verb } from '../spec/environment.ts';
import { CniError, CODE } from '../types.ts';
import type { Failed, Host } from './host.ts';

export interface Call {
  readonly host: Host;
  readonly verb: Verb;
  readonly environment: Environment;
  readonly configuration: Configuration;
  /** The standard input, for other plugins. */
  readonly stdin: string;
}

export function isFailed<T, Kind extends string>(outcome: T | Failed<Kind>): outcome is Failed<Kind> {
  return typeof outcome === 'object' && outcome !== null && 'failure' in outcome;
}

/** One line on the standard error. */
export function warn(host: Host, text: string): void {
  host.writeStderr(`kproxy-cni: ${text.replaceAll(/\s*[\r\n]+\s*/g, ' ')}\n`);
}

/** Whom the agent wouldn't serve, or whose plugins of others could do nothing, is told before anything is begun. @throws CniError 103 */
export function requirePrivileges({ uid, canAdminister }: Host): void {
  if (uid !== 0) throw new CniError(CODE.kernel, 'only root may do this', `effective uid ${uid}`);
  if (!canAdminister) throw new CniError(CODE.kernel, 'only a process with CAP_NET_ADMIN may do this');
}

/** For the runtime that has ended this program: nothing of an ADD is left. */
export function endedEarly(when: string): CniError {
  return new CniError(CODE.tryAgain, `a signal ended kproxy-cni ${when}`);
}

/** What was thrown by the machine, as an error with this code. */
export function failureOf(code: number, message: string, thrown: unknown): CniError {
  return new CniError(code, message, thrown instanceof Error ? thrown.message : String(thrown));
}
