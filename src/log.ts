import { type Logger as PinoLogger, pino, stdSerializers } from 'pino';
import { isOurMistake, type LogLevel as Level } from './log-level.ts';

export type LogLevel = Level;

/** Log lines have these keys: component, family, service (namespace/name), err. Make a child logger for the constant ones. */
export type Logger = PinoLogger;

/**
 * The process's logger: one JSON object a line on stdout, written at once so that the line before a crash isn't lost. No
 * transports: they cost a thread. `destination` is for tests.
 */
export function createLogger(options: { level: LogLevel; destination?: { write(line: string): void } }): Logger {
  const settings = {
    level: options.level,
    base: null,
    timestamp: isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: errorFields },
  };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

function isoTime(): string {
  return `,"time":"${new Date().toISOString()}"`;
}

/**
 * An error's message, type and own fields; the stack only of what is our mistake, since the place in the code says nothing
 * about a refused connection or a wrong object, and such lines come by the dozen when the API server is away.
 */
function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { stack, ...fields } = stdSerializers.err(error);
  return isOurMistake(error) ? { ...fields, stack } : fields;
}
