/** What the benches share: running a script in a network namespace of its own, medians, and the table at the end. */
import { fileURLToPath } from 'node:url';
import { run } from '../../src/linux/exec.ts';
import { renderTable } from '../../src/text/table.ts';

export interface Row {
  readonly figure: string;
  readonly ours: string;
  readonly beside: string;
  readonly ratio: number;
  /** Absent where a figure is only reported. */
  readonly target?: number;
  /** Whether the ratio must be at least the target; else at most. */
  readonly isFloor?: boolean;
}

/** Runs bench/spine/NAME.ts (NAME may lead elsewhere) in a fresh network namespace; it prints one JSON document. */
export async function measure<T>(name: string, args: readonly (string | number)[]): Promise<T> {
  const script = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  const command = ['--net', process.execPath, '--max-semi-space-size=4', '--expose-gc', script, ...args.map(String)];
  const { stdout } = await run('unshare', command, { timeoutMs: 600_000 });
  return JSON.parse(stdout) as T;
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

export const ms = (value: number) => `${value < 10 ? value.toFixed(2) : Math.round(value)} ms`;
export const mb = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;

const isMet = ({ ratio, target, isFloor = false }: Row) =>
  target === undefined || (isFloor ? ratio >= target : ratio <= target);

/** Writes the table; the process fails when a target is missed. */
export function report(rows: readonly Row[]): void {
  const cells = rows.map(row => {
    const target = row.target === undefined ? '-' : `${row.isFloor === true ? '≥' : '≤'} ${row.target}`;
    const verdict = row.target === undefined ? '' : isMet(row) ? 'met' : 'MISSED';
    return [row.figure, row.ours, row.beside, row.ratio.toFixed(2), target, verdict];
  });
  process.stdout.write(renderTable([['FIGURE', 'OURS', 'BESIDE', 'RATIO', 'TARGET', ''], ...cells]));
  process.exitCode = rows.every(isMet) ? 0 : 1;
}
