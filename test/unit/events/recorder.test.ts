import { afterEach, describe, expect, it } from 'vitest';
import { eventBody, type Happening } from '../../../src/events/event.ts';
import { addressLost, healthCheckFailed, started } from '../../../src/events/happenings.ts';
import { EventRecorder } from '../../../src/events/recorder.ts';
import { ApiError } from '../../../src/watch/api-error.ts';
import type { ApiChange } from '../../../src/watch/transport.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';

/** What a test reads of it. */
interface Body {
  readonly metadata?: { readonly name: string };
  readonly regarding?: object;
}

const recorders: EventRecorder[] = [];
afterEach(async () => {
  for (const recorder of recorders.splice(0)) await recorder[Symbol.asyncDispose]();
});

/** A server that keeps what it is sent, and fails with what `failures` holds, one a request. */
function start({ hasServer = true } = {}) {
  const clock = new ManualClock();
  const changes: (Omit<ApiChange, 'body'> & { body: Body })[] = [];
  const failures: Error[] = [];
  const lines: string[] = [];
  const send = async ({ body, ...change }: ApiChange) => {
    changes.push({ ...change, body: JSON.parse(body) });
    const failure = failures.shift();
    if (failure !== undefined) throw failure;
  };
  const recorder = new EventRecorder({
    by: { controller: 'kproxy-ts', instance: 'node-a' },
    send: () => (hasServer ? send : undefined),
    clock,
    log: {
      warn: (_, message) => void lines.push(`warn ${message}`),
      debug: (_, message) => void lines.push(`debug ${message}`),
    },
  });
  recorders.push(recorder);
  return { recorder, clock, changes, failures, lines };
}

const web = { kind: 'Service', namespace: 'default', name: 'web', uid: 'u1' } as const;
const failed = (port: number): Happening =>
  healthCheckFailed(web, { node: 'node-a', port, reason: '0.0.0.0: the address is in use' });
const status = (code: number) => new ApiError('status', `${code} no`, { status: code });

describe('EventRecorder', () => {
  it('posts an Event with every field that the API asks for', async () => {
    const { recorder, changes } = start();
    recorder.record(failed(30901));
    await recorder.idle();
    expect(changes).toEqual([
      {
        method: 'POST',
        path: '/apis/events.k8s.io/v1/namespaces/default/events',
        contentType: 'application/json',
        body: {
          apiVersion: 'events.k8s.io/v1',
          kind: 'Event',
          metadata: { name: expect.stringMatching(/^web\.[0-9a-f]+$/), namespace: 'default' },
          eventTime: '1970-01-01T00:16:40.000000Z',
          reportingController: 'kproxy-ts',
          reportingInstance: 'node-a',
          regarding: { apiVersion: 'v1', kind: 'Service', namespace: 'default', name: 'web', uid: 'u1' },
          type: 'Warning',
          reason: 'FailedToStartServiceHealthcheck',
          action: 'StartServiceHealthcheck',
          note: 'node node-a failed to start healthcheck "default/web" on port 30901: 0.0.0.0: the address is in use',
        },
      },
    ]);
  });

  it('keeps those of a Node in the namespace default', async () => {
    const { recorder, changes } = start();
    recorder.record(started('node-a', 'kproxy-ts 1.0.0'));
    await recorder.idle();
    expect(changes[0]).toMatchObject({
      path: '/apis/events.k8s.io/v1/namespaces/default/events',
      body: { regarding: { kind: 'Node', name: 'node-a', uid: 'node-a' }, reason: 'Starting' },
    });
    expect(changes[0]?.body.regarding).not.toHaveProperty('namespace');
  });

  it('counts what happens again in a series, a request a minute at most, and begins anew after a quiet time', async () => {
    const { recorder, clock, changes } = start();
    const key = { namespace: 'default', port: 'http', protocol: 'TCP' } as const;
    const loss = { key: 'nodePort 30080/TCP', loser: { ...key, name: 'web' }, owner: { ...key, name: 'old' } };
    for (let i = 0; i < 1000; i += 1) recorder.record(addressLost(web, loss));
    await clock.armed(60_000);
    expect(changes).toHaveLength(1);
    await clock.pass(60_000);
    await recorder.idle();
    expect(changes[1]).toMatchObject({
      method: 'PATCH',
      contentType: 'application/merge-patch+json',
      body: { series: { count: 1000, lastObservedTime: '1970-01-01T00:16:40.000000Z' } },
    });
    const { name } = changes[0]?.body.metadata ?? { name: '' };
    expect(changes[1]?.path).toBe(`/apis/events.k8s.io/v1/namespaces/default/events/${name}`);
    clock.advance(6 * 60_000);
    recorder.record(addressLost(web, loss));
    await recorder.idle();
    expect(changes.map(({ method }) => method)).toEqual(['POST', 'PATCH', 'POST']);
  });

  it('thins out a burst of different ones, and leaves out what is too much with one line', async () => {
    const { recorder, clock, changes, lines } = start();
    for (let port = 1; port <= 600; port += 1) recorder.record(failed(port));
    await clock.armed(10_000);
    expect(changes).toHaveLength(25);
    for (let i = 0; i < 475; i += 1) await clock.pass(10_000);
    await recorder.idle();
    expect(changes).toHaveLength(500);
    expect(lines).toEqual(['warn 100 Events were left out: there were too many']);
  });

  it('says once that the server refuses, tries none of these again, and goes on with others', async () => {
    const { recorder, changes, failures, lines } = start();
    failures.push(status(403), status(403));
    recorder.record(failed(1));
    recorder.record(failed(2));
    recorder.record(failed(3));
    await recorder.idle();
    expect(changes).toHaveLength(3);
    expect(lines).toEqual([
      'warn Events cannot be posted: 403 no; everything else goes on',
      'debug an Event could not be posted',
    ]);
  });

  it('tries again with growing waits while the server is away', async () => {
    const { recorder, clock, changes, failures, lines } = start();
    failures.push(new ApiError('connection', 'ECONNREFUSED'), status(503));
    recorder.record(failed(1));
    await clock.pass(1000);
    await clock.pass(2000);
    await recorder.idle();
    expect(changes.map(({ method }) => method)).toEqual(['POST', 'POST', 'POST']);
    expect(new Set(changes.map(({ body }) => body.metadata?.name)).size).toBe(1);
    expect(lines.filter(line => line.startsWith('warn'))).toHaveLength(2);
  });

  it('posts an Event anew when the server has forgotten it', async () => {
    const { recorder, clock, changes, failures } = start();
    recorder.record(failed(1));
    await recorder.idle();
    failures.push(status(404));
    recorder.record(failed(1));
    await clock.pass(60_000);
    await recorder.idle();
    recorder.record(failed(1));
    await recorder.idle();
    expect(changes.map(({ method }) => method)).toEqual(['POST', 'PATCH', 'POST']);
  });

  it('posts nothing without an API server, and nothing after it is disposed of', async () => {
    const none = start({ hasServer: false });
    none.recorder.record(failed(1));
    await none.recorder.idle();
    const ended = start();
    await ended.recorder[Symbol.asyncDispose]();
    ended.recorder.record(failed(1));
    await ended.recorder.idle();
    expect([none.changes, ended.changes]).toEqual([[], []]);
  });
});

it('a note keeps to what the API takes, whole characters only', () => {
  const happening = { ...failed(1), note: 'ö'.repeat(600) };
  const { note } = eventBody(happening, 'web.1', { by: { controller: 'c', instance: 'i' }, firstMs: 0 }) as {
    note: string;
  };
  expect(Buffer.byteLength(note)).toBeLessThanOrEqual(1024);
  expect(note).toMatch(/^ö+…$/);
});
