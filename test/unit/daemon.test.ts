import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { defaultConfiguration } from '../../src/config/load.ts';
import { runDaemon } from '../../src/daemon.ts';
import { ListenError } from '../../src/http/listen.ts';
import { FileLock } from '../../src/lifecycle/lock.ts';

/** Listens on a free port of 127.0.0.1, or on a given one. */
async function listen(port = 0): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const address = server.address();
  return { server, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

test('a metrics address that is taken ends a daemon with bindAddressHardFail, and nothing of it stays open', async () => {
  const runtimeDir = mkdtempSync(join(tmpdir(), 'kproxy-daemon-'));
  const taken = await listen();
  const free = await listen();
  await new Promise(resolve => free.server.close(resolve));
  const loaded = defaultConfiguration();
  const address = '127.0.0.1';
  const run = runDaemon({
    version: '0.0.0',
    loaded: {
      ...loaded,
      configuration: {
        ...loaded.configuration,
        bindAddressHardFail: true,
        healthz: { address, port: free.port },
        metrics: { address, port: taken.port },
      },
      warnings: [],
    },
    source: `dir:${runtimeDir}`,
    runtimeDir,
    logLevel: 'fatal',
  });
  await expect(run).rejects.toThrow(ListenError);
  const again = await listen(free.port);
  for (const { server } of [again, taken]) server.close();
  // The lock files stay, without a lock; the socket has gone.
  expect(readdirSync(runtimeDir).toSorted()).toEqual(['lock', 'next']);
  using held = await new FileLock({ path: join(runtimeDir, 'lock'), what: '' }).tryAcquire();
  expect(held).toBeDefined();
  rmSync(runtimeDir, { recursive: true });
});
