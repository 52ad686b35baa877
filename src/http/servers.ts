import type { Configuration } from '../config/configuration.ts';
import type { Logger } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { healthRoutes } from './health.ts';
import type { HealthState } from './health-state.ts';
import { HttpListener, type ListenOptions } from './listen.ts';
import { metricsRoutes } from './metrics.ts';
import { type Routes, serveRoutes } from './routes.ts';

export interface ServersOptions {
  readonly health: HealthState;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** The servers of healthzBindAddress and metricsBindAddress. Both, or none when one fails hard. @throws ListenError */
export async function startServers(
  configuration: Configuration,
  { health, metrics, log: parent }: ServersOptions,
): Promise<AsyncDisposable> {
  const log = parent.child({ component: 'http' });
  const onProbe = (probe: 'healthz' | 'livez', status: number) => {
    (probe === 'healthz' ? metrics.healthzProbes : metrics.livezProbes).inc({ code: String(status) });
  };
  const common = { isFailureFatal: configuration.bindAddressHardFail, log };
  await using started = new AsyncDisposableStack();
  const start = async (options: Pick<ListenOptions, 'name' | 'address' | 'port'>, routes: Routes) =>
    started.use(await HttpListener.start({ ...options, ...common, handler: serveRoutes(routes) }));
  await start({ name: 'health', ...configuration.healthz }, healthRoutes({ state: health, now: Date.now, onProbe }));
  await start(
    { name: 'metrics', ...configuration.metrics },
    metricsRoutes({ registry: metrics.registry, proxyMode: configuration.mode }),
  );
  return started.move();
}
