import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readArguments } from '../../../../src/cni/spec/arguments.ts';
import { readConfiguration, versionSaid } from '../../../../src/cni/spec/configuration.ts';
import { asCniError, errorText, joined, readError } from '../../../../src/cni/spec/errors.ts';
import { CONFIGURATION_SPELLING, respelled } from '../../../../src/cni/spec/spelling.ts';
import { CniError } from '../../../../src/cni/types.ts';

const VERBS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const;

describe('what comes in', () => {
  test('any JSON is read, or refused with a code', () => {
    const near = fc.record(
      {
        cniVersion: fc.oneof(fc.constant('1.1.0'), fc.jsonValue()),
        name: fc.oneof(fc.constant('kp'), fc.jsonValue()),
        ipam: fc.jsonValue(),
        prevResult: fc.jsonValue(),
        'cni.dev/valid-attachments': fc.jsonValue(),
      },
      { requiredKeys: [] },
    );
    const texts = fc.oneof(
      fc.string(),
      fc.json(),
      near.map(value => JSON.stringify(value)),
    );
    fc.assert(
      fc.property(texts, fc.constantFrom(...VERBS), (text, verb) => {
        try {
          expect(readConfiguration(text, verb).name).toMatch(/^[A-Za-z0-9]/);
        } catch (error) {
          if (!(error instanceof CniError)) throw error;
          expect([1, 6, 7]).toContain(error.code);
        }
        expect(['string', 'undefined']).toContain(typeof versionSaid(text));
      }),
    );
  });

  test('respelling twice is respelling once, and leaves the right spelling alone', () => {
    const keys = fc.constantFrom('name', 'NAME', 'ipam', 'IPAM', 'ranges', 'Ranges', '__proto__', 'constructor', 'x');
    const { tree } = fc.letrec(tie => ({
      tree: fc.oneof({ maxDepth: 4 }, fc.integer(), fc.array(tie('tree')), fc.dictionary(keys, tie('tree'))),
    }));
    fc.assert(
      fc.property(tree, value => {
        const once = respelled(value, CONFIGURATION_SPELLING);
        expect(respelled(once, CONFIGURATION_SPELLING)).toEqual(once);
      }),
    );
    expect(respelled({ NAME: 1, Name: 2 }, CONFIGURATION_SPELLING)).toEqual({ name: 2 });
    expect(respelled({ name: 0, NAME: 1 }, CONFIGURATION_SPELLING)).toEqual({ name: 0 });
  });

  test('CNI_ARGS', () => {
    expect(readArguments('')).toEqual({});
    expect(readArguments('IP=1;IP=2;')).toEqual({ IP: '2' });
    expect(readArguments('X=1;IgnoreUnknown=TRUE')).toEqual({ X: '1', IgnoreUnknown: 'TRUE' });
    expect(() => readArguments('X=1')).toThrow('CNI_ARGS: unknown X');
  });
});

describe('errors', () => {
  test('V05 one document with the version', () => {
    expect(errorText(new CniError(7, 'a\nb', 'd'), '0.4.0')).toBe(
      '{"cniVersion":"0.4.0","code":7,"msg":"a\\nb","details":"d"}\n',
    );
    expect(errorText(new CniError(7, 'a'), '1.1.0')).toBe('{"cniVersion":"1.1.0","code":7,"msg":"a"}\n');
  });

  test("other programs' errors", () => {
    expect(readError({ code: 999, msg: 'm', details: 7 })).toMatchObject({ code: 999, message: 'm', details: '' });
    for (const none of [undefined, 7, {}, { code: '1', msg: 'm' }, { code: 0, msg: 'm' }, { code: 1 }])
      expect(readError(none)).toBeUndefined();
  });

  test('several are told as one; a fault of ours with its stack', () => {
    expect(joined([])).toBeUndefined();
    const both = joined([new CniError(11, 'a', 'b'), new CniError(5, 'c')]);
    expect(both).toMatchObject({ code: 11, message: 'a; c', details: 'b' });
    expect(asCniError(new TypeError('x')).details).toContain('TypeError: x');
  });
});
