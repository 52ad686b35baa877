import type { Log } from '../../src/watch/log.ts';

/** A log that keeps its lines as `level message`. */
export function recordedLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const write = (level: string) => (_fields: object, message: string) => {
    lines.push(`${level} ${message}`);
  };
  return { lines, info: write('info'), warn: write('warn'), error: write('error') };
}
