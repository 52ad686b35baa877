import { type Logger as PinoLogger, pino, stdSerializers } from 'pino';
import type { LogLevel as Level } from './log-level.ts';

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
    serializers: { err: stdSerializers.err },
  };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

function isoTime(): string {
  return `,"time":"${new Date().toISOString()}"`;
}
