/** What the plugin prints when a request can't be served. Pure. */
import { CniError, CODE } from '../types.ts';
import { isObject } from './json.ts';

/** The error document: one line. `version` is the configuration's, whatever it says. */
export function errorText({ code, message, details }: CniError, version: string): string {
  const document = { cniVersion: version, code, msg: message, ...(details === '' ? {} : { details }) };
  return `${JSON.stringify(document)}\n`;
}

/** An error document of another program or the agent; undefined when this isn't one. */
export function readError(value: unknown): CniError | undefined {
  if (!isObject(value)) return undefined;
  const { code, msg, details } = value;
  if (typeof code !== 'number' || !Number.isInteger(code) || code <= 0 || typeof msg !== 'string') return undefined;
  return new CniError(code, msg, typeof details === 'string' ? details : '');
}

/** Whatever was thrown. What isn't a CniError is a fault of this program: its stack is told. */
export function asCniError(thrown: unknown): CniError {
  if (thrown instanceof CniError) return thrown;
  if (!(thrown instanceof Error)) return new CniError(CODE.io, `internal fault: ${String(thrown)}`);
  return new CniError(CODE.io, `internal fault: ${thrown.message}`, thrown.stack ?? '');
}

/** One error that tells of all of them; the first one's code. Undefined when there is none. */
export function joined(errors: readonly CniError[]): CniError | undefined {
  const [first, ...rest] = errors;
  if (first === undefined || rest.length === 0) return first;
  const said = (part: 'message' | 'details') => errors.map(error => error[part]).filter(text => text !== '');
  return new CniError(first.code, said('message').join('; '), said('details').join('; '));
}
