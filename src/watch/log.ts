import type { Problem } from './objects.ts';

/** Where log lines go: the part of pino that is used here. */
export interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** One object's problems as text: `Service default/web: spec.ports[0].port: 70000 is not …; …`. */
export function problemText(object: string, problems: readonly Problem[]): string {
  return `${object}: ${problems.map(problem => `${problem.field}: ${problem.message}`).join('; ')}`;
}

/** A listener for Store.onProblem that writes one line per change: a warning, and an info line when all is well again. */
export function problemLogger(log: Log): (object: string, problems: readonly Problem[]) => void {
  return (object, problems) => {
    if (problems.length === 0) log.info({ object }, `${object}: the problems are gone`);
    else log.warn({ object, problems }, problemText(object, problems));
  };
}
