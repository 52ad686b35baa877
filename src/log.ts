import { type Logger as PinoLogger, pino, stdSerializers } from 'pino';
import { isOurMistake, type LogLevel as Level } from './log-level.ts';

export type LogLevel = Level;

/** Log lines have these keys: component, family, service (namespace/name), err. Make a child logger for the constant ones. */
export type Logger = PinoLogger;

/** The process's logger, whose level can change while it runs. */
export interface RootLogger extends Logger {
  /** For this logger and every child of it; pino gives a child its parent's level only when it is made. */
  setLevel(level: LogLevel): void;
}

/**
 * The process's logger: one JSON object a line on stdout, written at once so that the line before a crash isn't lost. No
 * transports: they cost a thread. `destination` is for tests.
 */
export function createLogger(options: { level: LogLevel; destination?: { write(line: string): void } }): RootLogger {
  const children: WeakRef<Logger>[] = [];
  const settings = {
    level: options.level,
    base: null,
    timestamp: isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: errorFields },
    onChild: (child: Logger) => {
      children.push(new WeakRef(child));
    },
  };
  const log = options.destination === undefined ? pino(settings) : pino(settings, options.destination);
  const setLevel = (level: LogLevel) => {
    for (const logger of [log, ...children.map(reference => reference.deref())]) {
      if (logger !== undefined) logger.level = level;
    }
  };
  return Object.assign(log, { setLevel });
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
