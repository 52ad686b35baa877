import type { Loss } from './endpoints/claims.ts';
import type { Happening, Regarding } from './events/event.ts';
import { addressLost, healthCheckFailed, started } from './events/happenings.ts';
import { ServiceHealthServer } from './health-check/server.ts';
import type { SyncHealth } from './http/health-state.ts';
import { nodeAddresses, watchAddresses } from './linux/addresses.ts';
import type { Logger } from './log.ts';
import type { IPFamily } from './watch/objects.ts';
import type { Store } from './watch/store.ts';

export interface AnnouncerOptions {
  readonly nodeName: string;
  readonly store: Store;
  readonly health: SyncHealth;
  readonly events: { record(happening: Happening): void };
  readonly log: Logger;
}

/** What the rest of the cluster hears of this node, beside its rules: health check node ports, and Events. */
export class Announcer {
  readonly #options: AnnouncerOptions;

  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** This process has begun. `what` is its name and version. */
  started(what: string): void {
    this.#options.events.record(started(this.#options.nodeName, what));
  }

  /** A Service port doesn't get what it asks for. */
  lost(loss: Loss): void {
    const { namespace, name } = loss.loser;
    this.#options.events.record(addressLost(this.#serviceOf(`${namespace}/${name}`), loss));
  }

  /** The health check node ports of one family. */
  healthServer(family: IPFamily): ServiceHealthServer {
    const { health, nodeName: node, events } = this.#options;
    const log = this.#options.log.child({ component: 'health-check', family });
    return new ServiceHealthServer({
      family,
      isProxyHealthy: () => health.isProxyHealthy(),
      onFailure: (service, port, reason) => {
        log.warn({ service, port }, `health check node port ${port} of ${service} is not served: ${reason}`);
        events.record(healthCheckFailed(this.#serviceOf(service), { node, port, reason }));
      },
      log,
      nodeAddresses,
      watchAddresses,
    });
  }

  #serviceOf(key: string): Regarding {
    const [namespace = '', name = ''] = key.split('/');
    const uid = this.#options.store.snapshot.services.get(key)?.uid ?? '';
    return { kind: 'Service', namespace, name, uid };
  }
}
