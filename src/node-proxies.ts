/** The families of a node with everybody who acts on what they program: health check ports, Events, metrics, conntrack. */
import { Announcer } from './announcer.ts';
import type { KernelCallOptions } from './backends/backend.ts';
import type { SettledMode } from './backends/mode.ts';
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
import type { Predecessor } from './take-over/predecessor.ts';
import { systemClock } from './watch/clock.ts';
import type { IPFamily } from './watch/objects.ts';

export interface NodeProxiesOptions
  extends Omit<FamilyProxyOptions, 'family' | 'backend' | 'tidy' | 'followers' | 'onLoss' | 'kernelFacts'> {
  readonly kernel: KernelSettings;
  /** What became of the mode on this node. */
  readonly settled: SettledMode;
  readonly predecessor: Predecessor;
  readonly source: ClusterSource;
  /** Our own, for the Event of the start. */
  readonly version: string;
}

export interface NodeProxies {
  readonly proxies: readonly FamilyProxy[];
  /** One a family. */
  readonly pending: readonly PendingChanges[];
  readonly events: EventRecorder;
}

/** One FamilyProxy a family; `resources` ends them, and what belongs to them. */
export function nodeProxies(
  { settled, predecessor, source, version, kernel, ...common }: NodeProxiesOptions,
  resources: AsyncDisposableStack,
): NodeProxies {
  const { nodeName, store, health, metrics, log } = common;
  const { families, newBackend } = settled;
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
    const followers = [checks, pending[i], flows, localnet, predecessor.follower(family)].filter(
      item => item !== undefined,
    );
    const kernelFacts = () => kernel.facts;
    const backend = newBackend(family);
    const onLoss = (loss: Loss) => announcer.lost(loss);
    const tidy = (call?: KernelCallOptions) => predecessor.retire(family, call);
    return new FamilyProxy({ family, backend, tidy, ...common, kernelFacts, followers, onLoss });
  });
  for (const proxy of proxies) resources.defer(() => proxy.close());
  return { proxies, pending, events };
}

function pendingChanges(family: IPFamily, metrics: Metrics): PendingChanges {
  const labels = { ip_family: family };
  const onProgrammed = (seconds: number) => metrics.networkProgrammingSeconds.observe(labels, seconds);
  return new PendingChanges({ family, onProgrammed, now: Date.now });
}
