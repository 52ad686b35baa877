import { beforeEach, describe, expect, it } from 'vitest';
import { ServerContact } from '../../../src/watch/server-contact.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

const KINDS = ['Service', 'EndpointSlice', 'Node'];
const MINUTE = 60_000;
let clock: ManualClock;
let log: ReturnType<typeof recordedLog>;
let contact: ServerContact;

beforeEach(() => {
  clock = new ManualClock();
  log = recordedLog();
  contact = new ServerContact({ clock, log, collections: KINDS.length });
});

const refused = (kinds: readonly string[] = KINDS, message = 'connect ECONNREFUSED') => {
  for (const kind of kinds) contact.failed(kind, { message, delayMs: 800 });
};
const heard = (kinds: readonly string[] = KINDS) => {
  for (const kind of kinds) contact.heard(kind);
};
/** The lines since the last time. */
const lines = () => log.lines.splice(0);

describe('an outage', () => {
  it('is one line at its begin, some later, one at its end, however many watches fail', () => {
    refused();
    expect(lines()).toEqual(['warn Service: connect ECONNREFUSED; trying again, what is known stays']);
    const told: string[] = [];
    for (let at = 0; at < 5 * 60; at += 1) {
      clock.advance(MINUTE);
      refused();
      for (const line of lines()) told.push(`${at + 1} min: ${line}`);
    }
    expect(told).toEqual([
      '1 min: warn the API server: away for 60 s; the rules stay (connect ECONNREFUSED)',
      '5 min: warn the API server: away for 5 min; the rules stay (connect ECONNREFUSED)',
      '15 min: warn the API server: away for 15 min; the rules stay (connect ECONNREFUSED)',
      '60 min: warn the API server: away for 60 min; the rules stay (connect ECONNREFUSED)',
      '120 min: warn the API server: away for 2 h; the rules stay (connect ECONNREFUSED)',
      '180 min: warn the API server: away for 3 h; the rules stay (connect ECONNREFUSED)',
      '240 min: warn the API server: away for 4 h; the rules stay (connect ECONNREFUSED)',
      '300 min: warn the API server: away for 5 h; the rules stay (connect ECONNREFUSED)',
    ]);
    heard();
    expect(lines()).toEqual(['info the API server answers again after 5 h']);
  });

  it('of one kind names it, and ends when that works, not before', () => {
    refused(['EndpointSlice'], '403 not yours');
    clock.advance(MINUTE);
    refused(['EndpointSlice'], '403 not yours');
    heard(['Service', 'Node']);
    expect(lines()).toEqual([
      'warn EndpointSlice: 403 not yours; trying again, what is known stays',
      'warn EndpointSlice: away for 60 s; the rules stay (403 not yours)',
    ]);
    heard(['EndpointSlice']);
    expect(lines()).toEqual(['info the API server answers again after 60 s']);
  });

  it('tells each new complaint once', () => {
    refused();
    refused(['Node'], '503 not ready');
    refused();
    refused(['Node'], '503 not ready');
    expect(lines()).toEqual([
      'warn Service: connect ECONNREFUSED; trying again, what is known stays',
      'warn Node: 503 not ready; trying again, what is known stays',
    ]);
  });

  it('whose complaints differ each time does not fill the log', () => {
    for (let n = 0; n < 100; n += 1) refused(KINDS, `request ${n} went wrong`);
    expect(lines()).toHaveLength(10);
  });

  it('that comes back within a minute is the same one', () => {
    let told = 0;
    for (let second = 0; second < 310; second += 2) {
      refused();
      clock.advance(1000);
      heard();
      clock.advance(1000);
      told += lines().length;
    }
    // Its begin, two reminders, and after each of them that all works again.
    expect(told).toBe(6);
    clock.advance(MINUTE);
    refused();
    expect(lines()).toEqual(['warn Service: connect ECONNREFUSED; trying again, what is known stays']);
  });

  it('is known by its begin for as long as it lasts', () => {
    const begin = clock.now();
    expect(contact.failingSinceMs).toBe(0);
    refused();
    clock.advance(5 * MINUTE);
    refused();
    heard(['Service']);
    expect(contact.failingSinceMs).toBe(begin);
    heard();
    expect(contact.failingSinceMs).toBe(0);
  });
});

it('a fault of our own is an error', () => {
  contact.failed('Service', { message: 'x is not a function', delayMs: 800, isOurs: true });
  expect(lines()).toEqual(['error Service: x is not a function; trying again, what is known stays']);
});
