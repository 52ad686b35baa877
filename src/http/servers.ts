import { isDeepStrictEqual } from 'node:util';
import type { Configuration, ConfigurationFields, ListenAddress } from '../config/configuration.ts';
import type { ProxyMode } from '../config/proxy-modes.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { configzRoute } from './configz.ts';
import { healthRoutes } from './health.ts';
import type { HealthState } from './health-state.ts';
import { HttpListener, ListenError, type ListenOptions } from './listen.ts';
import { metricsRoutes } from './metrics.ts';
import { type Routes, serveRoutes } from './routes.ts';

export interface ServersOptions {
  readonly health: HealthState;
  readonly metrics: Metrics;
  /** What /proxyMode answers. */
  readonly mode: ProxyMode;
  /** What is in effect; asked at each request. */
  readonly fields: () => ConfigurationFields;
  readonly log: Logger;
}

type ServerAddresses = Pick<Configuration, 'healthz' | 'metrics' | 'bindAddressHardFail'>;
type Which = 'healthz' | 'metrics';

/** A server where it was told to be, whether or not it has got the address yet. */
interface Placed {
  readonly listener: HttpListener;
  readonly address: ListenAddress;
}

/** The servers of healthzBindAddress and metricsBindAddress, which can be opened and closed again and again. */
export class NodeServers {
  readonly #options: Readonly<Record<Which, Pick<ListenOptions, 'name' | 'handler' | 'log'>>>;
  #placed: Readonly<Record<Which, Placed>> | undefined;
  /** One change at a time. */
  #work: Promise<void> = Promise.resolve();

  constructor(options: ServersOptions) {
    const log = options.log.child({ component: 'http' });
    this.#options = {
      healthz: { name: 'health', handler: serveRoutes(healthServerRoutes(options)), log },
      metrics: { name: 'metrics', handler: serveRoutes(metricsServerRoutes(options)), log },
    };
  }

  /** Both, or none when one fails hard. @throws ListenError with bindAddressHardFail */
  open(addresses: ServerAddresses): Promise<void> {
    return this.#afterOthers(async () => {
      await using opened = new AsyncDisposableStack();
      const place = async (which: Which): Promise<Placed> => {
        const address = addresses[which];
        const listener = await this.#listen(which, address, addresses.bindAddressHardFail);
        return { listener: opened.use(listener), address };
      };
      const healthz = await place('healthz');
      this.#placed = { healthz, metrics: await place('metrics') };
      opened.move();
    });
  }

  /** Goes over to other addresses, if open; where one can't be had the server stays where it was, with a line in the log. */
  configure(next: ServerAddresses): Promise<void> {
    return this.#afterOthers(async () => {
      for (const which of ['healthz', 'metrics'] as const) {
        const current = this.#placed?.[which];
        if (this.#placed === undefined || current === undefined) return;
        if (isDeepStrictEqual(current.address, next[which])) continue;
        this.#placed = { ...this.#placed, [which]: await this.#move(which, current, next[which]) };
      }
    });
  }

  /** Frees the addresses. */
  close(): Promise<void> {
    return this.#afterOthers(async () => {
      const placed = this.#placed;
      this.#placed = undefined;
      await Promise.all(Object.values(placed ?? {}).map(({ listener }) => listener.close()));
    });
  }

  #afterOthers(change: () => Promise<void>): Promise<void> {
    const result = this.#work.then(change);
    this.#work = result.catch(() => undefined); // whoever asked for the change hears of it
    return result;
  }

  async #move(which: Which, current: Placed, address: ListenAddress): Promise<Placed> {
    const isListening = current.listener.port !== undefined;
    // The new one first; but one that has the same port (0.0.0.0 and 127.0.0.1 overlap), or none yet, would only be in the way.
    const goesFirst = !isListening || current.address.port === address.port;
    if (goesFirst) await current.listener.close();
    try {
      const listener = await this.#listen(which, address, true);
      await current.listener.close();
      return { listener, address };
    } catch (error) {
      if (!(error instanceof ListenError)) throw error;
      if (!isListening) return { listener: await this.#listen(which, address, false), address };
      const stays = `it stays on ${current.address.address}, port ${current.address.port}`;
      this.#options[which].log.warn({ err: error }, `${error.message}; ${stays}`);
      return goesFirst ? { ...current, listener: await this.#listen(which, current.address, false) } : current;
    }
  }

  #listen(which: Which, address: ListenAddress, isFailureFatal: boolean): Promise<HttpListener> {
    return HttpListener.start({ ...this.#options[which], ...address, isFailureFatal });
  }
}

function healthServerRoutes({ health, metrics }: ServersOptions): Routes {
  const onProbe = (probe: 'healthz' | 'livez', status: number) => {
    (probe === 'healthz' ? metrics.healthzProbes : metrics.livezProbes).inc({ code: String(status) });
  };
  return healthRoutes({ state: health, now: Date.now, onProbe });
}

function metricsServerRoutes({ metrics, mode, fields }: ServersOptions): Routes {
  return { ...metricsRoutes({ registry: metrics.registry, proxyMode: mode }), '/configz': configzRoute(fields) };
}
