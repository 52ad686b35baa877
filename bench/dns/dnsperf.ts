/** Runs dnsperf (Debian's package) against 127.0.0.1. */
import { readFile, writeFile } from 'node:fs/promises';
import { run } from '../../src/linux/exec.ts';

export interface PerfOptions {
  readonly port: number;
  /** A file of `name TYPE` lines. */
  readonly queries: string;
  readonly seconds: number;
  readonly transport?: 'udp' | 'tcp';
  /** With room for more than 512 bytes by UDP. */
  readonly hasEdns?: boolean;
  /** Queries a second; absent = as many as are answered. */
  readonly rate?: number;
}

const CLIENTS = '8';
const OUTSTANDING = '200';

function argsOf({ port, queries, seconds, transport = 'udp', hasEdns = false, rate }: PerfOptions): string[] {
  const args = ['-s', '127.0.0.1', '-p', String(port), '-d', queries, '-l', String(seconds), '-c', CLIENTS];
  return [
    ...args,
    '-m',
    transport,
    '-q',
    OUTSTANDING,
    ...(hasEdns ? ['-e'] : []),
    ...(rate === undefined ? [] : ['-Q', String(rate)]),
  ];
}

/** Answers a second. Rejects when some are missing, or are errors: such a rate would say nothing. */
export async function ratePerSecond(options: PerfOptions): Promise<number> {
  const { stdout } = await run('dnsperf', argsOf(options));
  const lost = Number(/Queries lost:\s+(\d+)/.exec(stdout)?.[1]);
  const codes = /Response codes:\s+(.*)/.exec(stdout)?.[1] ?? '';
  const completed = Number(/Queries completed:\s+(\d+)/.exec(stdout)?.[1]);
  if (!codes.startsWith('NOERROR') || codes.includes(',') || !(lost <= completed / 1000))
    throw new Error(`dnsperf: ${lost} lost of ${completed}, ${codes}`);
  return Number(/Queries per second:\s+([\d.]+)/.exec(stdout)?.[1]);
}

/** Milliseconds that each answer took. */
export async function latencies(options: PerfOptions): Promise<number[]> {
  // Into a file: who reads it meanwhile would take the processor from both.
  const file = `${options.queries}.latencies`;
  await run('sh', ['-c', 'file=$1; shift; exec dnsperf "$@" -v >"$file"', 'sh', file, ...argsOf(options)]);
  const stdout = await readFile(file, 'utf8');
  return [...stdout.matchAll(/^> NOERROR \S+ \S+ ([\d.]+)$/gm)].map(([, seconds]) => Number(seconds) * 1000);
}

export async function writeQueries(file: string, names: readonly string[], type = 'A'): Promise<string> {
  await writeFile(file, names.map(name => `${name} ${type}\n`).join(''));
  return file;
}
