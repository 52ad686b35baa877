import { expect, test } from 'vitest';
import { eventBody } from '../../../src/events/event.ts';
import { started } from '../../../src/events/happenings.ts';
import { checkEvent } from '../../../src/lab/apiserver/event-validation.ts';
import { startApiServer } from '../../../src/lab/apiserver/server.ts';

const path = '/apis/events.k8s.io/v1/namespaces/default/events';
const by = { controller: 'kproxy-ts', instance: 'node-a' };
const event = eventBody(started('node-a', 'kproxy-ts'), 'node-a.1', { by, firstMs: 0 });

test('Events are taken, listed under both of their groups, and counted on', async () => {
  await using server = await startApiServer({ host: '127.0.0.1', port: 0 });
  const ask = async (where: string, method = 'GET', body?: object, type = 'application/json') => {
    const init = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': type } };
    const response = await fetch(server.url + where, { method, ...init });
    return { status: response.status, body: (await response.json()) as { readonly items?: readonly object[] } };
  };
  expect(await ask(path, 'POST', event)).toMatchObject({ status: 201 });
  const series = { count: 2, lastObservedTime: '2026-01-01T00:00:00.000000Z' };
  expect(await ask(`${path}/node-a.1`, 'PATCH', { series }, 'application/merge-patch+json')).toMatchObject({
    status: 200,
  });
  expect((await ask(path)).body.items).toMatchObject([
    { regarding: { kind: 'Node', name: 'node-a' }, reason: 'Starting', note: 'kproxy-ts starts', series },
  ]);
  expect((await ask('/api/v1/events')).body.items).toMatchObject([
    { involvedObject: { kind: 'Node', name: 'node-a' }, message: 'kproxy-ts starts', reportingComponent: 'kproxy-ts' },
  ]);
  const { action: _, ...incomplete } = event as { action: string };
  expect(await ask(path, 'POST', { ...incomplete, metadata: { name: 'x' } })).toMatchObject({ status: 422 });
});

const stored = {
  apiVersion: 'v1',
  kind: 'Event',
  metadata: { name: 'a.1', namespace: 'default' },
  eventTime: '2026-01-01T00:00:00.000000Z',
  reportingComponent: 'c',
  reportingInstance: 'i',
  action: 'a',
  reason: 'r',
  type: 'Normal',
};

test.each([
  ['complete', {}, []],
  ['about something in another namespace', { involvedObject: { namespace: 'other' } }, ['involvedObject.namespace']],
  [
    'without who reports',
    { reportingComponent: '', reportingInstance: '' },
    ['reportingController', 'reportingInstance'],
  ],
  ['of another type', { type: 'Error' }, ['type']],
  ['too long', { message: 'x'.repeat(1025), reason: 'r'.repeat(129) }, ['reason', 'message']],
  ['a series of one', { series: { count: 1 } }, ['series.count', 'series.lastObservedTime']],
  ['of the old kind', { eventTime: null, action: '' }, []],
])('an Event %s', (_, fields, problems) => {
  expect(checkEvent({ ...stored, ...fields }).map(({ field }) => field)).toEqual(problems);
});
