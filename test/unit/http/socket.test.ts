import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Reply } from '../../../src/http/routes.ts';
import { askSocket, serveSocket } from '../../../src/http/socket.ts';

let directory = '';
let socketPath = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kpx-sock-'));
  socketPath = join(directory, 'x.sock');
});
afterEach(() => rmSync(directory, { recursive: true }));

const plain = (body: string): Reply => ({ status: 200, contentType: 'text/plain', body });
const ask = (path: string, body?: string) =>
  askSocket({ socketPath, path, timeoutMs: 5000, ...(body === undefined ? {} : { body }) });

/** Leaves its socket behind. */
async function killedListener(): Promise<void> {
  const script = "require('node:net').createServer().listen(process.argv[1], () => console.log('ready'))";
  const child = spawn(process.execPath, ['-e', script, socketPath], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout!, 'data');
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

describe('a socket', () => {
  test("answers routes by method and path, is root's alone, and goes at disposal", async () => {
    {
      await using _server = await serveSocket(socketPath, {
        '/a': () => plain('got'),
        'POST /a': body => plain(`posted ${body}`),
      });
      expect(statSync(socketPath).mode & 0o777).toBe(0o600);
      expect(await ask('/a')).toEqual({ status: 200, body: 'got' });
      expect(await ask('/a', 'this')).toEqual({ status: 200, body: 'posted this' });
      expect(await ask('/b', 'this')).toMatchObject({ status: 404 });
    }
    expect(existsSync(socketPath)).toBe(false);
    await expect(ask('/a')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('refuses a body beyond its limit', async () => {
    await using _server = await serveSocket(socketPath, { 'POST /a': body => plain(body) });
    expect(await ask('/a', 'x'.repeat(17_000))).toMatchObject({ status: 500, body: expect.stringContaining('16384') });
  });

  test.for([
    ['a daemon that was killed', killedListener],
    ['a plain file', async () => writeFileSync(socketPath, '')],
  ] as const)('takes the place of %s', async ([_, leave]) => {
    await leave();
    expect(existsSync(socketPath)).toBe(true);
    await using _server = await serveSocket(socketPath, { '/a': () => plain('got') });
    expect(await ask('/a')).toMatchObject({ body: 'got' });
  });

  test('leaves a directory in its place alone, and fails', async () => {
    mkdirSync(socketPath);
    await expect(serveSocket(socketPath, {})).rejects.toMatchObject({ code: 'ERR_FS_EISDIR' });
  });

  test('finishes the answer under way when it closes', async () => {
    const asked = Promise.withResolvers<void>();
    const { promise, resolve } = Promise.withResolvers<Reply>();
    const server = await serveSocket(socketPath, {
      '/a': () => {
        asked.resolve();
        return promise;
      },
    });
    const answer = ask('/a');
    await asked.promise;
    const closed = server[Symbol.asyncDispose]();
    resolve(plain('late'));
    expect(await answer).toEqual({ status: 200, body: 'late' });
    await closed;
  });

  test('an asker gives up after its time, or when told to', async () => {
    await using _server = await serveSocket(socketPath, { '/a': () => new Promise<Reply>(() => undefined) });
    await expect(askSocket({ socketPath, path: '/a', timeoutMs: 20 })).rejects.toMatchObject({
      name: 'SocketTimeoutError',
    });
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(askSocket({ socketPath, path: '/a', timeoutMs: 5000, signal })).rejects.toThrow('enough');
  });
});
