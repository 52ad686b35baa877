/** Metrics that are read where the number lives, at each scrape, instead of being kept up to date. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Model } from './endpoints/types.ts';
import type { ApiSource } from './watch/api-source.ts';
import type { Kind } from './watch/objects.ts';

/** Counts what each family's Model serves. */
export function addModelMetrics(registry: Registry, models: () => Iterable<Model>): void {
  new Gauge({
    name: 'kproxy_endpoints',
    help: 'Endpoints of the served Service ports, whatever their condition',
    labelNames: ['ip_family'],
    registers: [registry],
    collect() {
      for (const { family, routes } of models()) {
        let endpoints = 0;
        for (const route of routes.values()) endpoints += route.endpoints.length;
        this.set({ ip_family: family }, endpoints);
      }
    },
  });
}

/** What an API source has seen, per kind. Manifests have no connection that could be lost, so a file source has none of these. */
export function addWatchMetrics(registry: Registry, source: { readonly stats: ApiSource['stats'] | undefined }): void {
  const labelNames = ['kind'];
  const registers = [registry];
  const perKind = () => Object.entries(source.stats ?? {}) as [Kind, ApiSource['stats'][Kind]][];
  new Gauge({
    name: 'kproxy_watch_last_contact_timestamp_seconds',
    help: 'The last time the API server said anything about this kind of object; absent before the first',
    labelNames,
    registers,
    collect() {
      for (const [kind, { lastContactMs }] of perKind()) {
        if (lastContactMs > 0) this.set({ kind }, lastContactMs / 1000);
      }
    },
  });
  new Counter({
    name: 'kproxy_watch_relists_total',
    help: 'Complete lists of this kind of object after the first',
    labelNames,
    registers,
    collect() {
      this.reset();
      for (const [kind, { relists }] of perKind()) this.inc({ kind }, relists);
    },
  });
}
