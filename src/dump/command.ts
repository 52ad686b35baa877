import { type Collected, type CollectOptions, collectDump, DumpError } from './collect.ts';
import { selectServices } from './state.ts';
import { renderDump } from './table.ts';

export interface DumpCommandOptions {
  /** `namespace/name` or `name`; empty = all. */
  readonly services: readonly string[];
  readonly output: 'table' | 'json';
  readonly runtimeDir: string;
}

/** Where the command reads and writes; the defaults are the process's. */
export interface DumpPorts {
  readonly run?: CollectOptions['run'];
  readonly modes?: CollectOptions['modes'];
  readonly askTimeoutMs?: number;
  readonly write: (text: string) => void;
  readonly complain: (text: string) => void;
  readonly hasColours: boolean;
}

const PROCESS_PORTS: DumpPorts = {
  write: text => void process.stdout.write(text),
  complain: text => void process.stderr.write(text),
  // hasColors heeds NO_COLOR and TERM=dumb.
  hasColours: process.stdout.isTTY === true && process.stdout.hasColors(),
};

/** `kproxy-ts dump`: 0, or 1 when a named Service isn't there or nobody could be asked. */
export async function dumpCommand(options: DumpCommandOptions, ports: DumpPorts = PROCESS_PORTS): Promise<number> {
  const { runtimeDir, services, output } = options;
  try {
    const { write, complain, hasColours, ...how } = ports;
    const collected = await collectDump({ runtimeDir, ...how });
    if (collected.note !== '') complain(`${collected.note}\n`);
    return show(collected, { services, output }, { write, complain, hasColours });
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
    ports.complain(`${error.message}\n`);
    return 1;
  }
}

function show(
  { state }: Collected,
  { services, output }: Omit<DumpCommandOptions, 'runtimeDir'>,
  { write, complain, hasColours }: DumpPorts,
): number {
  const selected = selectServices(state, services);
  for (const name of selected.unknown) complain(`${unknownText(name, state.source)}\n`);
  if (services.length === 0 || selected.unknown.length < services.length) {
    if (output === 'json') write(`${JSON.stringify(selected.state, undefined, 2)}\n`);
    else write(renderDump(selected.state, { isDetailed: services.length > 0, hasColours }));
  }
  return selected.unknown.length === 0 ? 0 : 1;
}

function unknownText(name: string, source: Collected['state']['source']): string {
  return source === 'daemon'
    ? `${name}: no such Service is served here (a proxy leaves out headless and ExternalName Services)`
    : `${name}: the kernel has no rules for such a Service`;
}
