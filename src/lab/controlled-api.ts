/** The lab's API server as its tests see it: it can be told to fail, to forget, to stop and to come back with an older state. */
import type { Aim, Cut, Lasting, Refusal, Slowness } from './apiserver/faults.ts';
import type { StoreSnapshot } from './apiserver/history.ts';
import { type ApiServer, type ApiServerOptions, startApiServer } from './apiserver/server.ts';
import type { Store } from './apiserver/store.ts';

type Nothing = Readonly<Record<string, never>>;

/** What can go wrong with the API server, with its options. The functions of the same names on `ApiServer` say more. */
export interface ApiFaults {
  readonly refuse: Refusal;
  readonly slow: Slowness;
  readonly stall: Lasting;
  readonly cutWatches: Cut;
  readonly expireWatches: Aim;
  readonly dropConnections: Aim;
  readonly compact: Nothing;
  readonly dropWatches: Nothing;
  readonly endWatches: Nothing;
  /** An API group isn't served, until the fault ends. */
  readonly withoutGroup: { readonly group: string };
  /** Closed: connections are refused until the fault ends. The data stay. */
  readonly down: Nothing;
}

export type ApiFaultKind = keyof ApiFaults;

/** A fault with its options, as it travels to the control process. */
export type ApiFault = { [K in ApiFaultKind]: { readonly kind: K; readonly options: ApiFaults[K] } }[ApiFaultKind];

type Ending = () => void | Promise<void>;

export class ControlledApi {
  readonly #options: ApiServerOptions;
  readonly #store: Store;
  readonly #endings = new Map<number, Ending>();
  readonly #snapshots = new Map<number, StoreSnapshot>();
  #server: ApiServer;
  #lastId = 0;

  private constructor(options: ApiServerOptions, server: ApiServer) {
    this.#options = options;
    this.#server = server;
    this.#store = server.store;
  }

  static async start(options: ApiServerOptions): Promise<ControlledApi> {
    return new ControlledApi(options, await startApiServer(options));
  }

  /** The objects; the same ones across restarts. */
  get store(): Store {
    return this.#store;
  }

  /** Returns a number by which `end` knows the fault. */
  async begin(fault: ApiFault): Promise<number> {
    const id = ++this.#lastId;
    this.#endings.set(id, await this.#begin(fault));
    return id;
  }

  /** Nothing happens when it is over already. */
  async end(id: number): Promise<void> {
    const ending = this.#endings.get(id);
    this.#endings.delete(id);
    await ending?.();
  }

  /** Remembers what the cluster holds now; returns a number for `restart`. */
  takeSnapshot(): number {
    this.#snapshots.set(++this.#lastId, this.#server.snapshot());
    return this.#lastId;
  }

  /** Stops and starts, with the data that are there or those of a snapshot. @throws when there is no such snapshot */
  async restart(snapshotId?: number): Promise<void> {
    const snapshot = snapshotId === undefined ? undefined : this.#snapshots.get(snapshotId);
    if (snapshotId !== undefined && snapshot === undefined) throw new Error(`no snapshot ${snapshotId}`);
    await this.#server.close();
    if (snapshot !== undefined) this.#store.restore(snapshot);
    await this.#listen();
  }

  async #listen(): Promise<void> {
    this.#server = await startApiServer({ ...this.#options, store: this.#store });
  }

  async #begin(fault: ApiFault): Promise<Ending> {
    const server = this.#server;
    switch (fault.kind) {
      case 'refuse':
        return server.refuse(fault.options);
      case 'slow':
        return server.slow(fault.options);
      case 'stall':
        return server.stall(fault.options);
      case 'withoutGroup':
        server.serveGroup(fault.options.group, false);
        return () => server.serveGroup(fault.options.group, true);
      case 'down':
        await server.close();
        return () => this.#listen();
      default:
        momentary(server, fault);
        return () => undefined;
    }
  }
}

/** What is over as soon as it has happened. */
function momentary(
  server: ApiServer,
  fault: Exclude<ApiFault, { kind: 'refuse' | 'slow' | 'stall' | 'withoutGroup' | 'down' }>,
): void {
  const deeds = {
    compact: () => server.compact(),
    dropWatches: () => server.dropWatches(),
    endWatches: () => server.endWatches(),
    cutWatches: () => server.cutWatches(fault.options),
    expireWatches: () => server.expireWatches(fault.options),
    dropConnections: () => server.dropConnections(fault.options),
  };
  deeds[fault.kind]();
}
