/** How important things are; apart from `log.ts` so that the command line can ask without loading pino. */
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** The level for kube-proxy's `--v` number (klog): 4 and 5 are debugging, from 6 on everything. */
export function levelOfVerbosity(verbosity: number): LogLevel {
  if (verbosity >= 6) return 'trace';
  return verbosity >= 4 ? 'debug' : 'info';
}

/** Whether an error can only come from a mistake in the program, so that its stack is worth showing. */
export function isOurMistake(error: unknown): boolean {
  return [TypeError, RangeError, ReferenceError, SyntaxError].some(kind => error instanceof kind);
}
