import { describe, expect, test } from 'vitest';
import { decodeProtobuf } from '../../../src/lab/apiserver/protobuf.ts';

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** A field: a number as varint, texts and messages by length. */
function field(number: number, value: number | string | Buffer): Buffer {
  if (typeof value === 'number') return Buffer.concat([varint(number * 8), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
}

function message(...fields: readonly Buffer[]): Buffer {
  return Buffer.concat(fields);
}

function body(apiVersion: string, kind: string, raw: Buffer): Buffer {
  const type = message(field(1, apiVersion), field(2, kind));
  return message(Buffer.from('k8s\0'), field(1, type), field(2, raw), field(3, ''), field(4, ''));
}

describe('protobuf bodies', () => {
  test('a Service', () => {
    const metadata = message(
      field(1, 'web'),
      field(2, ''),
      field(8, ''),
      field(11, message(field(1, 'a'), field(2, 'b'))),
    );
    const named = message(field(1, 1), field(2, 0), field(3, 'http'));
    const port = message(field(1, 'p'), field(2, 'TCP'), field(3, 80), field(4, named), field(5, 0));
    const spec = message(
      field(1, port),
      field(3, ''),
      field(4, 'LoadBalancer'),
      field(9, '10.0.0.0/8'),
      field(9, '192.0.2.0/24'),
      field(12, 0),
      field(13, 0),
      field(20, 0),
      field(99, 'of a later release'),
    );
    expect(decodeProtobuf(body('v1', 'Service', message(field(1, metadata), field(2, spec))))).toEqual({
      kind: 'Service',
      apiVersion: 'v1',
      metadata: { name: 'web', labels: { a: 'b' } },
      spec: {
        type: 'LoadBalancer',
        ports: [{ name: 'p', protocol: 'TCP', port: 80, targetPort: 'http' }],
        loadBalancerSourceRanges: ['10.0.0.0/8', '192.0.2.0/24'],
        allocateLoadBalancerNodePorts: false,
      },
    });
  });

  test('an Event with its time', () => {
    const time = message(field(1, 1_767_225_600), field(2, 123_456_000));
    const event = message(field(2, time), field(8, message(field(1, 'Service'), field(3, 'web'))), field(10, 'hello'));
    expect(decodeProtobuf(body('events.k8s.io/v1', 'Event', event))).toEqual({
      kind: 'Event',
      apiVersion: 'events.k8s.io/v1',
      eventTime: '2026-01-01T00:00:00.123456Z',
      regarding: { kind: 'Service', name: 'web' },
      note: 'hello',
    });
  });

  test.each([
    ['a body without the prefix', Buffer.from('{}'), 400],
    ['a body that ends early', body('v1', 'Service', Buffer.from([0x0a, 0x7f])), 400],
    ['an endless number', body('v1', 'Service', Buffer.from([0xff, 0xff])), 400],
    ['fixed-width fields', body('v1', 'Service', Buffer.from([0x09, 0, 0, 0, 0, 0, 0, 0, 0])), 400],
    ['another kind', body('v1', 'Pod', Buffer.alloc(0)), 415],
  ])('refuses %s', (_name, bytes, code) => {
    expect(() => decodeProtobuf(bytes)).toThrow(expect.objectContaining({ code }));
  });
});
