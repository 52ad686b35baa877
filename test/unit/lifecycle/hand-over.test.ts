import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { askSocket, serveSocket } from '../../../src/http/socket.ts';
import { askHandOver, HAND_OVER_ROUTE, HandOverError, handOverRoute } from '../../../src/lifecycle/hand-over.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

const asker = { pid: 4711, version: '1.2.3' };
const never = new AbortController().signal;
let directory = '';
let socketPath = '';
let log: ReturnType<typeof recordedLog>;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kpx-ho-'));
  socketPath = join(directory, 'x.sock');
  log = recordedLog();
});
afterEach(() => rmSync(directory, { recursive: true }));

const serve = (handOver: () => Promise<void>) =>
  serveSocket(socketPath, { [HAND_OVER_ROUTE]: handOverRoute({ handOver, log }) });
const ask = (timeoutMs = 5000) => askHandOver({ socketPath, asker, timeoutMs, signal: never });

describe('asking the writer to hand over', () => {
  test('resolves when it has drained, and not before', async () => {
    const asked = Promise.withResolvers<void>();
    const drained = Promise.withResolvers<void>();
    await using _server = await serve(() => {
      asked.resolve();
      return drained.promise;
    });
    let isAnswered = false;
    const answer = ask().then(() => {
      isAnswered = true;
    });
    await asked.promise;
    expect(isAnswered).toBe(false);
    expect(log.lines).toEqual(['info kproxy-ts 1.2.3 (process 4711, as it counts) asks to take over: draining']);
    drained.resolve();
    await answer;
  });

  test('says why it does not', async () => {
    await using _server = await serve(() => Promise.reject(new Error('this process is not the writer')));
    await expect(ask()).rejects.toThrow(new HandOverError('this process is not the writer'));
  });

  test('says when there is no answer, or nobody', async () => {
    {
      await using _server = await serve(() => new Promise(() => undefined));
      await expect(ask(20)).rejects.toThrow(new HandOverError('no answer for 0.02 s'));
    }
    await expect(ask()).rejects.toThrow('ENOENT');
  });

  test('a request that names nobody changes nothing', async () => {
    await using _server = await serve(() => Promise.reject(new Error('asked all the same')));
    for (const body of ['', '{}', 'null', '{"pid":"1","version":"1"}']) {
      const answer = await askSocket({ socketPath, path: '/v1/hand-over', body, timeoutMs: 5000 });
      expect(answer).toEqual({ status: 400, body: 'must be {"pid": number, "version": text}\n' });
    }
  });
});
