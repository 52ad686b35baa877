import { describe, expect, test } from 'vitest';
import { applyJsonPatch, applyMergePatch } from '../../../src/lab/apiserver/json-patch.ts';
import { StatusError } from '../../../src/lab/apiserver/status.ts';
import { applyStrategicPatch } from '../../../src/lab/apiserver/strategic-patch.ts';

describe('JSON Patch', () => {
  test.each<[string, unknown, unknown[], unknown]>([
    ['adds a member', { a: 1 }, [{ op: 'add', path: '/b', value: 2 }], { a: 1, b: 2 }],
    ['inserts into a list', [1, 3], [{ op: 'add', path: '/1', value: 2 }], [1, 2, 3]],
    ['appends with -', { l: [1] }, [{ op: 'add', path: '/l/-', value: 2 }], { l: [1, 2] }],
    ['removes', { a: 1, b: [1, 2] }, [{ op: 'remove', path: '/b/0' }], { a: 1, b: [2] }],
    ['replaces', { a: [{ x: 1 }] }, [{ op: 'replace', path: '/a/0/x', value: 2 }], { a: [{ x: 2 }] }],
    ['moves', { a: 1 }, [{ op: 'move', from: '/a', path: '/b' }], { b: 1 }],
    ['moves within a list', [1, 2, 3], [{ op: 'move', from: '/0', path: '/2' }], [2, 3, 1]],
    ['copies', { a: { x: 1 } }, [{ op: 'copy', from: '/a', path: '/b' }], { a: { x: 1 }, b: { x: 1 } }],
    [
      'tests whatever the order of keys',
      { a: { x: 1, y: 2 } },
      [{ op: 'test', path: '/a', value: { y: 2, x: 1 } }],
      { a: { x: 1, y: 2 } },
    ],
    [
      'unescapes names',
      { 'a/b': 1, 'c~d': 2 },
      [
        { op: 'remove', path: '/a~1b' },
        { op: 'remove', path: '/c~0d' },
      ],
      {},
    ],
    ['replaces the whole document', { a: 1 }, [{ op: 'replace', path: '', value: { b: 2 } }], { b: 2 }],
  ])('%s', (_name, document, patch, expected) => {
    expect(applyJsonPatch(document, patch)).toEqual(expected);
  });

  test.each<[string, unknown, number]>([
    ['a missing member', [{ op: 'remove', path: '/x' }], 422],
    ['an index out of bounds', [{ op: 'add', path: '/l/5', value: 1 }], 422],
    ['a test that fails', [{ op: 'test', path: '/a', value: 2 }], 422],
    ['a move into itself', [{ op: 'move', from: '/o', path: '/o/x' }], 422],
    ['an unknown operation', [{ op: 'grow', path: '/a' }], 400],
    ['a path that is no pointer', [{ op: 'add', path: 'a', value: 1 }], 400],
    ['a patch that is no list', { a: 1 }, 400],
  ])('refuses %s', (_name, patch, code) => {
    const run = (): unknown => applyJsonPatch({ a: 1, l: [1], o: {} }, patch);
    expect(run).toThrow(expect.objectContaining({ code }));
    expect(run).toThrow(StatusError);
  });
});

describe('JSON Merge Patch (the examples of RFC 7396)', () => {
  test.each<[unknown, unknown, unknown]>([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('%j with %j is %j', (target, patch, expected) => {
    expect(applyMergePatch(target, patch)).toEqual(expected);
  });
});

describe('strategic merge patch', () => {
  const ports = [
    { name: 'dns', port: 53, protocol: 'UDP', nodePort: 30_001 },
    { name: 'dns-tcp', port: 53, protocol: 'TCP', nodePort: 30_002 },
  ];
  const merge = (kind: string, current: object, patch: object): unknown =>
    applyStrategicPatch(kind, { ...current }, patch);

  test.each<[string, string, object, object, object]>([
    [
      'merges Service ports by number',
      'Service',
      { spec: { ports: [{ port: 80, name: 'a' }] } },
      { spec: { ports: [{ port: 80, targetPort: 1 }] } },
      { spec: { ports: [{ port: 80, name: 'a', targetPort: 1 }] } },
    ],
    [
      'tells equal numbers apart by protocol',
      'Service',
      { spec: { ports } },
      { spec: { ports: [{ port: 53, protocol: 'TCP', nodePort: 30_009 }] } },
      { spec: { ports: [ports[0], { ...ports[1], nodePort: 30_009 }] } },
    ],
    [
      'adds a port',
      'Service',
      { spec: { ports: [{ port: 80 }] } },
      { spec: { ports: [{ port: 81 }] } },
      { spec: { ports: [{ port: 80 }, { port: 81 }] } },
    ],
    [
      'deletes an item',
      'Service',
      { spec: { ports: [{ port: 80 }, { port: 81 }] } },
      { spec: { ports: [{ port: 80, $patch: 'delete' }] } },
      { spec: { ports: [{ port: 81 }] } },
    ],
    [
      'replaces a list',
      'Service',
      { spec: { ports: [{ port: 80 }] } },
      { spec: { ports: [{ port: 82 }, { $patch: 'replace' }] } },
      { spec: { ports: [{ port: 82 }] } },
    ],
    [
      'replaces a map',
      'Service',
      { spec: { selector: { a: 'b' } } },
      { spec: { selector: { $patch: 'replace', c: 'd' } } },
      { spec: { selector: { c: 'd' } } },
    ],
    [
      'keeps only the retained keys',
      'Service',
      { spec: { a: 1, b: 2 } },
      { spec: { $retainKeys: ['b', 'c'], c: 3 } },
      { spec: { b: 2, c: 3 } },
    ],
    [
      'merges conditions by type',
      'Node',
      { status: { conditions: [{ type: 'Ready', status: 'False' }] } },
      { status: { conditions: [{ type: 'Ready', status: 'True' }] } },
      { status: { conditions: [{ type: 'Ready', status: 'True' }] } },
    ],
    [
      'merges containers and what is in them',
      'Pod',
      { spec: { containers: [{ name: 'a', image: 'x', env: [{ name: 'p', value: '1' }] }] } },
      { spec: { containers: [{ name: 'a', env: [{ name: 'q', value: '2' }] }] } },
      {
        spec: {
          containers: [
            {
              name: 'a',
              image: 'x',
              env: [
                { name: 'p', value: '1' },
                { name: 'q', value: '2' },
              ],
            },
          ],
        },
      },
    ],
    [
      'orders items as the client says',
      'Service',
      { spec: { ports: [{ port: 80 }] } },
      { spec: { $setElementOrder: 1, '$setElementOrder/ports': [{ port: 81 }, { port: 80 }], ports: [{ port: 81 }] } },
      { spec: { ports: [{ port: 81 }, { port: 80 }] } },
    ],
    [
      'replaces endpoints as a whole',
      'EndpointSlice',
      { endpoints: [{ addresses: ['a'] }] },
      { endpoints: [{ addresses: ['b'] }] },
      { endpoints: [{ addresses: ['b'] }] },
    ],
    [
      'removes with null',
      'Service',
      { metadata: { labels: { a: 'b', c: 'd' } } },
      { metadata: { labels: { a: null } } },
      { metadata: { labels: { c: 'd' } } },
    ],
    [
      'merges finalizers as a set',
      'Service',
      { metadata: { finalizers: ['a'] } },
      { metadata: { finalizers: ['a', 'b'] } },
      { metadata: { finalizers: ['a', 'b'] } },
    ],
    [
      'deletes from a set',
      'Service',
      { metadata: { finalizers: ['a', 'b'] } },
      { metadata: { '$deleteFromPrimitiveList/finalizers': ['a'] } },
      { metadata: { finalizers: ['b'] } },
    ],
  ])('%s', (_name, kind, current, patch, expected) => {
    expect(merge(kind, current, patch)).toEqual(expected);
  });

  test('refuses an item without its key', () => {
    expect(() => merge('Service', { spec: { ports: [] } }, { spec: { ports: [{ name: 'a' }] } })).toThrow(
      /merge key: port/,
    );
  });
});
