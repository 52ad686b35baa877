import { setTimeout as delay, setImmediate } from 'node:timers/promises';
import { daemonDump } from '../dump/from-model.ts';
import type { DumpState } from '../dump/state.ts';
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
  /** Sees what others left in the kernel, before anything is programmed. */
  readonly look: () => Promise<void>;
  /** Makes the kernel's settings; what can't be made is no reason not to go on. */
  readonly setKernel: () => Promise<void>;
  readonly socket: { readonly path: string; readonly routes: Routes };
  /** The health and metrics servers. */
  readonly servers: { open(): Promise<void>; close(): Promise<void> };
  /** What answers names on this node. */
  readonly names: { serve(): void; release(): void };
  /** What wires this node's pods. */
  readonly pods: { serve(): void; release(): Promise<void> };
}

/** Opens what only the node's writer has, and programs the node as soon as the store is complete. @throws ListenError */
export async function startTenure({
  proxies,
  store,
  health,
  look,
  setKernel,
  socket,
  servers,
  names,
  pods,
}: TenureOptions): Promise<Tenure> {
  health.restart();
  await using opened = new AsyncDisposableStack();
  opened.use(await serveSocket(socket.path, socket.routes));
  opened.defer(() => servers.close());
  await servers.open();
  await setKernel();
  await look();
  names.serve();
  pods.serve();
  let isDrained = false;
  void store.synced.then(() => {
    if (!isDrained) for (const proxy of proxies) proxy.start();
  });
  const kept = opened.move();
  return {
    async drain() {
      isDrained = true;
      names.release();
      await Promise.all([...proxies.map(proxy => proxy.pause()), servers.close(), pods.release()]);
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** How long to wait before the kernel is read again, when it couldn't be. */
const PREPARE_AGAIN_MS = 5000;

export interface PrepareOptions {
  readonly proxies: readonly FamilyProxy[];
  readonly store: Store;
  readonly log: { error(fields: object, message: string): void };
  readonly signal: AbortSignal;
}

/**
 * Resolves once this process could write: the store is complete and the kernel's rules can be read. One that couldn't must not
 * ask another to hand over. Never settles when aborted before.
 */
export async function prepareTenure({ store, proxies, log, signal }: PrepareOptions): Promise<void> {
  await store.synced;
  while (!signal.aborted) {
    try {
      for (const proxy of proxies) await proxy.checkReadable();
      return;
    } catch (error) {
      log.error({ err: error }, "the kernel's rules can't be read; this process doesn't ask to write them");
    }
    await delay(PREPARE_AGAIN_MS, undefined, { signal }).catch(() => undefined);
  }
  await new Promise<never>(() => undefined);
}

export interface ProxiesView {
  readonly proxies: readonly FamilyProxy[];
  readonly node: string;
  readonly mode: string;
}

/** What the node serves and what its kernel has, for `dump`. */
export async function dumpProxies({ proxies, ...common }: ProxiesView): Promise<DumpState> {
  const families = proxies.map(async proxy => ({ family: proxy.family, ...(await proxy.observe()) }));
  return daemonDump({ ...common, families: await Promise.all(families), pause: setImmediate });
}
