import { expect, test } from 'vitest';
import { createLogger } from '../../src/log.ts';
import { levelOfVerbosity } from '../../src/log-level.ts';

test('a line is one JSON object with level, time, our keys and the error', () => {
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', destination: { write: line => lines.push(line) } });
  logger.child({ component: 'sync', family: 'IPv4' }).warn({ service: 'default/web', err: new Error('no') }, 'failed');
  logger.debug('not written');
  expect(lines).toHaveLength(1);
  const entry = JSON.parse(lines[0] ?? '') as Record<string, unknown>;
  expect(entry).toMatchObject({
    level: 'warn',
    component: 'sync',
    family: 'IPv4',
    service: 'default/web',
    err: { type: 'Error', message: 'no' },
    msg: 'failed',
  });
  expect(entry).not.toHaveProperty('pid');
  expect(new Date(String(entry.time)).toISOString()).toBe(entry.time);
});

test('the stack of an error is shown for mistakes of the program only', () => {
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', destination: { write: line => lines.push(line) } });
  logger.warn({ err: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) }, 'no API server');
  logger.error({ err: new TypeError('x is not a function') }, 'sync');
  const [expected, mistake] = lines.map(line => (JSON.parse(line) as { err: object }).err);
  expect(expected).toEqual({ type: 'Error', message: 'refused', code: 'ECONNREFUSED' });
  expect(mistake).toHaveProperty('stack');
});

test('the level of a logger changes for its children and their children too', () => {
  const lines: string[] = [];
  const logger = createLogger({ level: 'info', destination: { write: line => lines.push(line) } });
  const child = logger.child({ component: 'sync' });
  const grandchild = child.child({ family: 'IPv4' });
  const said = (level: 'debug' | 'warn') => {
    for (const each of [logger, child, grandchild]) each[level](level);
    return lines.splice(0).length;
  };
  expect(said('debug')).toBe(0);
  logger.setLevel('debug');
  expect(said('debug')).toBe(3);
  expect(child.child({}).isLevelEnabled('debug')).toBe(true);
  logger.setLevel('error');
  expect([said('debug'), said('warn')]).toEqual([0, 0]);
});

test.each([
  [0, 'info'],
  [2, 'info'],
  [4, 'debug'],
  [6, 'trace'],
  [10, 'trace'],
])('--v %i logs from %s on', (verbosity, level) => {
  expect(levelOfVerbosity(verbosity)).toBe(level);
});
