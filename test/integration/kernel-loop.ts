/** The product's loop and iptables backend over the real tools in a network namespace, with a cluster that the test sets. */
import { diff } from '../../src/backends/diff.ts';
import type { IptablesIO } from '../../src/backends/iptables/apply.ts';
import { createIptablesBackend } from '../../src/backends/iptables/backend.ts';
import { SyncLoop } from '../../src/backends/loop.ts';
import { planAll } from '../../src/backends/route-changes.ts';
import type { SyncReport, SyncTiming } from '../../src/backends/sync-report.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import type { EndpointSlice, IPFamily, Service } from '../../src/watch/objects.ts';
import { IPTABLES_OPTIONS, IPTABLES_OPTIONS_V6, service, slice, sliceEndpoint, snapshot } from '../fakes/objects.ts';

const node = { name: 'node-a', zone: '' };

const NETS = {
  IPv4: { service: '10.96.', pod: '10.244.', join: '.' },
  IPv6: { service: 'fd00:10:96::', pod: 'fd00:10:244::', join: ':' },
} as const;

export interface Cluster {
  readonly services: Service[];
  readonly slices: EndpointSlice[];
}

/** So many Services of so many endpoints (up to 15); another `revision` gives the first one other endpoints. */
export function clusterOf(
  family: IPFamily,
  { services, endpoints = 2, revision = 0 }: { services: number; endpoints?: number; revision?: number },
): Cluster {
  const net = NETS[family];
  const indexes = Array.from({ length: services }, (_, i) => i);
  const address = (prefix: string, high: number, low: number) => `${prefix}${high}${net.join}${low}`;
  const podIP = (i: number, e: number) =>
    address(net.pod, 1 + (i >> 4) + (i === 0 ? 200 * revision : 0), (i & 15) * 15 + e + 1);
  return {
    services: indexes.map(i => service({ name: `s${i}`, clusterIPs: [address(net.service, 1 + (i >> 8), i & 255)] })),
    slices: indexes.map(i => {
      const addresses = Array.from({ length: endpoints }, (_, e) => sliceEndpoint(podIP(i, e)));
      return slice({ name: `s${i}-1`, serviceName: `s${i}`, family, endpoints: addresses });
    }),
  };
}

/** The backend of `io`'s family as tests use it. */
export function backendOf(io: IptablesIO) {
  const options = io.tools.family === 'IPv6' ? IPTABLES_OPTIONS_V6 : IPTABLES_OPTIONS;
  return createIptablesBackend(() => options, io);
}

/** Everything that the kernel shall hold for `cluster`. */
export function planOf(io: IptablesIO, { services, slices }: Cluster) {
  const snap = snapshot(services, slices);
  const model = updateModel(emptyModel(io.tools.family, node), snap, snap.services.keys(), node);
  return planAll(backendOf(io), model);
}

/** What the kernel has otherwise than `cluster` asks for: keys, none when all is well. */
export async function differences(io: IptablesIO, cluster: Cluster): Promise<string[]> {
  const { created, updated, deleted } = diff(await backendOf(io).read(), planOf(io, cluster));
  return [...created.keys(), ...updated.keys(), ...deleted.keys()];
}

/** A loop over `io`; `set` gives it a cluster and resolves with its next report, or rejects with its next error. */
export function startKernelLoop(io: IptablesIO, timing: Partial<SyncTiming> = {}) {
  let model = emptyModel(io.tools.family, node);
  let snap = snapshot([]);
  let dirty: string[] = [];
  let told = Promise.withResolvers<SyncReport>();
  const reports: SyncReport[] = [];
  const errors: unknown[] = [];
  const next = () => told.promise;
  const tell = (settle: (waiting: PromiseWithResolvers<SyncReport>) => void) => {
    const waiting = told;
    told = Promise.withResolvers();
    told.promise.catch(() => undefined);
    settle(waiting);
  };
  told.promise.catch(() => undefined);
  const loop = new SyncLoop({
    backend: backendOf(io),
    pull: () => {
      model = updateModel(model, snap, dirty, node);
      dirty = [];
      return model;
    },
    coalesceMs: () => 1,
    timing: () => ({ minSyncPeriodMs: 0, maxRetryMs: 1000, driftCheckMs: 3_600_000, ...timing }),
    now: () => performance.now(),
    onSync: report => {
      reports.push(report);
      tell(({ resolve }) => resolve(report));
    },
    onError: error => {
      errors.push(error);
      tell(({ reject }) => reject(error));
    },
  });
  const set = ({ services, slices }: Cluster) => {
    dirty.push(...snap.services.keys());
    snap = snapshot(services, slices);
    dirty.push(...snap.services.keys());
    loop.markDirty();
    return next();
  };
  return { loop, set, next, reports, errors };
}
