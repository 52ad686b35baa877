/** The families of a node with everybody who acts on what they program: health check ports, Events, metrics, conntrack. */
import { Announcer } from './announcer.ts';
import type { FamilyBackend } from './backends/family-backend.ts';
import { FlowFollower } from './conntrack/flow-follower.ts';
import type { Loss } from './endpoints/claims.ts';
import { EventRecorder } from './events/recorder.ts';
import { FamilyProxy, type FamilyProxyOptions } from './family-proxy.ts';
import type { KernelSettings } from './kernel-settings.ts';
import { sweepFlows } from './linux/conntrack.ts';
import { LocalnetFollower } from './localnet-follower.ts';
import type { Metrics } from './metrics.ts';
import { PendingChanges } from './pending-changes.ts';
import type { ClusterSource } from './source.ts';
import { systemClock } from './watch/clock.ts';
import type { IPFamily } from './watch/objects.ts';

export interface NodeProxiesOptions
  extends Omit<FamilyProxyOptions, 'family' | 'backend' | 'followers' | 'onLoss' | 'kernelFacts'> {
  /** One a family. */
  readonly newBackend: (family: IPFamily) => FamilyBackend<unknown>;
  readonly kernel: KernelSettings;
  readonly families: readonly IPFamily[];
  readonly source: ClusterSource;
  /** Our own, for the Event of the start. */
  readonly version: string;
}

export interface NodeProxies {
  readonly proxies: readonly FamilyProxy[];
  /** One a family. */
  readonly pending: readonly PendingChanges[];
}

/** One FamilyProxy a family; `resources` ends them, and what belongs to them. */
export function nodeProxies(
  { families, newBackend, source, version, kernel, ...common }: NodeProxiesOptions,
  resources: AsyncDisposableStack,
): NodeProxies {
  const { nodeName, store, health, metrics, log } = common;
  const events = resources.use(
    new EventRecorder({
      by: { controller: 'kproxy-ts', instance: nodeName },
      send: () => source.send,
      clock: systemClock,
      log: log.child({ component: 'events' }),
    }),
  );
  const announcer = new Announcer({ nodeName, store, health, events, log });
  announcer.started(`kproxy-ts ${version}`);
  const pending = families.map(family => pendingChanges(family, metrics));
  const proxies = families.map((family, i) => {
    const flows = new FlowFollower({ family, sweep: sweepFlows, metrics, log });
    const checks = resources.use(announcer.healthServer(family));
    const localnet = family === 'IPv4' ? new LocalnetFollower(() => kernel.allowLocalnet()) : undefined;
    const followers = [checks, pending[i], flows, localnet].filter(item => item !== undefined);
    const kernelFacts = () => kernel.facts;
    const backend = newBackend(family);
    const onLoss = (loss: Loss) => announcer.lost(loss);
    return new FamilyProxy({ family, backend, ...common, kernelFacts, followers, onLoss });
  });
  for (const proxy of proxies) resources.defer(() => proxy.close());
  return { proxies, pending };
}

function pendingChanges(family: IPFamily, metrics: Metrics): PendingChanges {
  const labels = { ip_family: family };
  const onProgrammed = (seconds: number) => metrics.networkProgrammingSeconds.observe(labels, seconds);
  return new PendingChanges({ family, onProgrammed, now: Date.now });
}
