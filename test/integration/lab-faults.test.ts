import { request } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ApiError } from '../../src/lab/api.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes } from '../../src/lab/layout.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { describeUnless } from './requires.ts';

const [nodeA, nodeB] = nodes;
const configMaps = '/api/v1/namespaces/default/configmaps';

describeUnless(await obstacle(), 'faults of a lab', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: `lf_${process.pid.toString(36)}`, pods: 1, daemons: false });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** What curl on a node hears of the API server: an HTTP status, or 0 with its exit status. */
  async function heard(node: string, ...args: string[]): Promise<string> {
    const curl = [
      'curl',
      '-s',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      '-m',
      '1',
      ...args,
      `${lab.apiUrl}/api/v1/nodes`,
    ];
    const { stdout } = await lab.exec(node, ['sh', '-c', '"$@"; echo " $?"', 'sh', ...curl]);
    return stdout.trim();
  }

  test('a refusal meets whom it is aimed at, until it ends', async () => {
    const fault = await lab.fault('refuse', { status: 429, retryAfterSeconds: 1, userAgent: 'curl' });
    expect(await heard(nodeA.name)).toBe('429 0');
    expect(await lab.api.list('/api/v1/nodes')).toHaveLength(2);
    await fault.end();
    await fault.end();
    expect(await heard(nodeA.name)).toBe('200 0');
  });

  test('a server that stalls says nothing, one that is down refuses', async () => {
    const stall = await lab.fault('stall', { userAgent: 'curl' });
    expect(await heard(nodeA.name)).toBe('000 28');
    await stall.end();
    const down = await lab.fault('down', {});
    expect(await heard(nodeA.name)).toBe('000 7');
    await expect(lab.api.get('/api/v1/nodes')).rejects.toThrow(ApiError);
    await down.end();
    expect(await heard(nodeA.name)).toBe('200 0');
  });

  test('a partition cuts one node off, by silence or by resets', async () => {
    const drop = await lab.fault('partition', { node: nodeA.name });
    expect(await heard(nodeA.name)).toBe('000 28');
    expect(await heard(nodeB.name)).toBe('200 0');
    await drop.end();
    await using _reset = await lab.fault('partition', { node: nodeB.name, how: 'reset' });
    expect(await heard(nodeA.name)).toBe('200 0');
    expect(await heard(nodeB.name)).toBe('000 7');
  });

  test('a restart keeps the data, or brings back those of a snapshot', async () => {
    const snapshot = await lab.takeSnapshot();
    const { body } = await lab.api.create(configMaps, { metadata: { name: 'late' } });
    await lab.restartApiServer();
    expect((await lab.api.get(`${configMaps}/late`)).body.metadata.uid).toBe(body.metadata.uid);
    await lab.restartApiServer({ snapshot });
    await expect(lab.api.get(`${configMaps}/late`)).rejects.toThrow('404');
    expect(await lab.api.list('/api/v1/nodes')).toHaveLength(2);
    await expect(lab.restartApiServer({ snapshot: 99 })).rejects.toThrow('no snapshot 99');
  });

  test('a group that the server lacks answers 404, and comes back', async () => {
    const path = '/apis/discovery.k8s.io/v1/endpointslices';
    const without = await lab.fault('withoutGroup', { group: 'discovery.k8s.io' });
    await expect(lab.api.get(path)).rejects.toThrow('404');
    await without.end();
    expect((await lab.api.list(path)).length).toBeGreaterThan(0);
  });

  test.for([
    ['cutWatches', 'broken in {"type":"ADDED"'],
    ['expireWatches', 'ended after ERROR 410'],
    ['dropConnections', 'broken in nothing'],
    ['dropWatches', 'broken in nothing'],
    ['endWatches', 'ended in nothing'],
  ] as const)('%s: an open watch is %s', async ([kind, outcome]) => {
    const { promise, resolve } = Promise.withResolvers<string>();
    const opened = Promise.withResolvers<void>();
    let text = '';
    const path = `${configMaps}?watch=1&resourceVersion=${String((await lab.api.get(configMaps)).body.metadata.resourceVersion)}`;
    const socketPath = `${lab.directory}/api.sock`;
    request({ socketPath, path, agent: false }, incoming => {
      opened.resolve();
      incoming.setEncoding('utf8');
      incoming.on('data', (chunk: string) => {
        text += chunk;
      });
      incoming.on('error', () => resolve('broken'));
      incoming.on('end', () => resolve('ended'));
    }).end();
    await opened.promise;
    await lab.fault(kind, kind === 'dropConnections' ? { path: configMaps } : {});
    if (kind === 'cutWatches') await lab.api.create(configMaps, { metadata: { name: 'cut' } });
    expect(`${await promise} ${describeEnd(text)}`).toBe(outcome);
  });
});

/** The last line, if it's whole, as its type and code, else its beginning. */
function describeEnd(text: string): string {
  if (text === '') return 'in nothing';
  if (!text.endsWith('\n')) return `in ${text.slice(0, 15)}`;
  const { type, object }: { type: string; object: { code?: number } } = JSON.parse(text.trimEnd().split('\n').at(-1)!);
  return `after ${type} ${object.code ?? ''}`;
}
