import type { FamilyProxy } from '../family-proxy.ts';
import type { SyncHealth } from '../http/health-state.ts';
import type { Routes } from '../http/routes.ts';
import { serveSocket } from '../http/socket.ts';
import type { Store } from '../watch/store.ts';
import type { Tenure } from './writer.ts';

export interface TenureOptions {
  readonly proxies: readonly FamilyProxy[];
  readonly store: Store;
  readonly health: SyncHealth;
  readonly socket: { readonly path: string; readonly routes: Routes };
  /** The health and metrics servers. */
  readonly startServers: () => Promise<AsyncDisposable>;
}

/** Opens what only the node's writer has, and programs the node as soon as the store is complete. @throws ListenError */
export async function startTenure({ proxies, store, health, socket, startServers }: TenureOptions): Promise<Tenure> {
  await using opened = new AsyncDisposableStack();
  opened.use(await serveSocket(socket.path, socket.routes));
  health.restart();
  const servers = await startServers();
  opened.use(servers);
  let isDrained = false;
  void store.synced.then(() => {
    if (!isDrained) for (const proxy of proxies) proxy.start();
  });
  const kept = opened.move();
  return {
    async drain() {
      isDrained = true;
      await Promise.all([...proxies.map(proxy => proxy.pause()), servers[Symbol.asyncDispose]()]);
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
