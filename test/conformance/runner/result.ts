/** What became of a check, and how a run of them ends. */

/** One thing that was checked: a probe of a packet flow, a case of another schema. */
export type Result =
  | { readonly name: string; readonly status: 'passed' }
  | { readonly name: string; readonly status: 'failed'; readonly why: string }
  | { readonly name: string; readonly status: 'skipped'; readonly why: string };

export const passed = (name: string): Result => ({ name, status: 'passed' });
export const failed = (name: string, why: string): Result => ({ name, status: 'failed', why });
export const skipped = (name: string, why: string): Result => ({ name, status: 'skipped', why });

/** Passed when both are the same as JSON; else failed, with both. */
export function compared(name: string, expected: unknown, seen: unknown): Result {
  const [wanted, found] = [expected, seen].map(value => JSON.stringify(value, sortedKeys));
  return wanted === found ? passed(name) : failed(name, `expected ${wanted}\nseen     ${found}`);
}

/** For JSON.stringify: the order of an object's fields means nothing. */
function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

/** The lines that a run prints: each failure, why what was skipped, and the count as the last line. */
export function reportLines(results: readonly Result[]): string[] {
  const failures = results.filter(result => result.status === 'failed');
  const reasons = Map.groupBy(
    results.filter(result => result.status === 'skipped'),
    ({ why }) => why,
  );
  const passes = results.length - failures.length - results.filter(({ status }) => status === 'skipped').length;
  return [
    ...failures.flatMap(({ name, why }) => [`FAILED ${name}`, ...why.split('\n').map(line => `  ${line}`)]),
    ...[...reasons].map(([why, list]) => `skipped ${list.length}: ${why}`),
    `${passes} passed, ${failures.length} failed, ${results.length - passes - failures.length} skipped`,
  ];
}
