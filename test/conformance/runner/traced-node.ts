/** The product up to a backend's plan, over a kernel that is traced: store, Models of the node's families, and what they ask for. */
import type { Configuration } from '../../../src/config/configuration.ts';
import { ModelFeed } from '../../../src/model-feed.ts';
import { ipFamily } from '../../../src/net/ip.ts';
import type { Store } from '../../../src/watch/store.ts';
import type { BackendEntry, TracedKernel } from './backends.ts';
import { newStore, takeStep } from './cluster.ts';
import { configurationFor } from './node-config.ts';
import type { NodeConfig, Probe, Step } from './packetflow.ts';
import type { Sighting } from './sighting.ts';

interface Family {
  readonly feed: ModelFeed;
  readonly kernel: TracedKernel;
}

/** One node with its store; every step brings its traced kernels up to date as a change does. */
export class TracedNode {
  readonly #store: Store;
  readonly #families: ReadonlyMap<string, Family>;

  /** @throws ConfigurationError for a node that the product's configuration can't describe */
  constructor(entry: BackendEntry, mode: string, node: NodeConfig) {
    const configuration: Configuration = configurationFor(node, mode);
    const { nodeName = node.nodeName } = configuration;
    this.#store = newStore(node);
    const allowedExternalIPs = () => configuration.allowedExternalIPs;
    const options = { store: this.#store, nodeName, allowedExternalIPs, onContest: () => undefined };
    this.#families = new Map(
      node.ipFamilies.map(family => {
        const kernel = entry.newTracedKernel({ family, configuration, node });
        return [family, { kernel, feed: new ModelFeed({ ...options, family }) }];
      }),
    );
    for (const { feed } of this.#families.values()) this.#store.onDirty(dirty => feed.note(dirty));
  }

  async take(step: Pick<Step, 'delete' | 'apply'>): Promise<void> {
    takeStep(this.#store, step);
    await Promise.resolve(); // the store tells of a batch in a microtask after it
    for (const { feed, kernel } of this.#families.values()) await kernel.program(feed.pull(), feed.node);
  }

  trace(probe: Probe): readonly Sighting[] {
    const family = this.#families.get(ipFamily(probe.destIP));
    // A family that the node doesn't have has no rules.
    return family === undefined ? [{ verdict: 'none' }] : family.kernel.trace(probe);
  }

  async contents(): Promise<readonly string[]> {
    const all = await Promise.all([...this.#families.values()].map(({ kernel }) => kernel.contents()));
    return all.flat();
  }
}
