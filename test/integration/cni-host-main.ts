/**
 * Compiled like the plugin, with its native side: calls the functions of the host that ASK lists, as JSON, and prints what each gave. A number
 * among the arguments of a text stands for as many letters; a long text is printed as its length.
 */
import type { Host } from '../../src/cni/plugin/host.ts';

export interface Call {
  readonly name: keyof Host | 'throw' | 'recurse';
  readonly args?: readonly unknown[];
}

export type Gave = { readonly returned: unknown } | { readonly thrown: string };

declare const native: { readonly host: Host; exit(status: number): never };

const LONG = 10_000;

function shortened(value: unknown): unknown {
  if (typeof value === 'string' && value.length > LONG) return { length: value.length, end: value.slice(-3) };
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shortened(inner)]));
}

function call({ name, args = [] }: Call): Gave {
  if (name === 'throw') throw new RangeError(String(args[0]));
  if (name === 'recurse') return { returned: JSON.parse('['.repeat(Number(args[0]))) };
  const member: unknown = native.host[name];
  if (typeof member !== 'function') return { returned: member };
  try {
    return { returned: shortened(member.apply(native.host, args.map(filled))) };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return { thrown: error.message };
  }
}

function filled(arg: unknown): unknown {
  if (typeof arg !== 'object' || arg === null || !('letters' in arg)) return arg;
  return 'x'.repeat(Number(arg.letters));
}

const calls = JSON.parse(native.host.environment.ASK ?? '[]') as Call[];
const gave = calls.map(call);
native.exit(native.host.writeStdout(JSON.stringify(gave)) ? 0 : 9);
