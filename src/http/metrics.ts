import type { Registry } from 'prom-client';
import { type Route, TEXT } from './routes.ts';

export interface MetricsRoutesOptions {
  readonly registry: Pick<Registry, 'metrics' | 'contentType'>;
  /** What /proxyMode answers, as kube-proxy does: `iptables`. */
  readonly proxyMode: string;
}

/** The routes of metricsBindAddress; /healthz there only says that the process answers. */
export function metricsRoutes({ registry, proxyMode }: MetricsRoutesOptions): Readonly<Record<string, Route>> {
  return {
    '/metrics': async () => ({ status: 200, contentType: registry.contentType, body: await registry.metrics() }),
    '/healthz': () => ({ status: 200, contentType: TEXT, body: 'ok' }),
    '/proxyMode': () => ({ status: 200, contentType: TEXT, body: proxyMode }),
  };
}
