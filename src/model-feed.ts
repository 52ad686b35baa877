import { describeContest, type Loss, newLosses } from './endpoints/claims.ts';
import { emptyModel, updateModel } from './endpoints/model.ts';
import type { Model, NodeFacts, OwnServer } from './endpoints/types.ts';
import type { IPFamily, Node } from './watch/objects.ts';
import type { Dirty } from './watch/snapshot.ts';
import type { Store } from './watch/store.ts';

export interface ModelFeedOptions {
  readonly store: Store;
  readonly family: IPFamily;
  readonly nodeName: string;
  /** See NodeFacts; asked at every pull. */
  readonly allowedExternalIPs?: () => readonly string[];
  /** See NodeFacts; asked at every pull. */
  readonly ownServer?: () => OwnServer | undefined;
  /** A line for each address that two Services claim, when the contest begins. */
  readonly onContest: (line: string) => void;
  /** Called for each Service port that another keeps from an address, when that begins. */
  readonly onLoss?: (loss: Loss) => void;
}

const ZONE_LABEL = 'topology.kubernetes.io/zone';

/** The facts of this node that policy depends on; an unknown Node has no zone. */
export function nodeFacts(name: string, node: Node | undefined): NodeFacts {
  return { name, zone: node?.labels[ZONE_LABEL] ?? '' };
}

/**
 * A Node that registers anew has neither addresses nor pod CIDRs until a cloud provider and the controller that allots them have seen
 * it: those that it had before stay in force so long.
 */
function withoutGaps(node: Node, before: Node | undefined): Node {
  if (before === undefined) return node;
  const podCIDRs = node.podCIDRs.length > 0 ? node.podCIDRs : before.podCIDRs;
  const hasAddress = node.addresses.some(({ type }) => type === 'InternalIP' || type === 'ExternalIP');
  return { ...node, podCIDRs, addresses: hasAddress ? node.addresses : before.addresses };
}

/** Keeps the Model of one family level with the store: events are noted as keys, `pull` brings the Model up to date. */
export class ModelFeed {
  readonly #options: ModelFeedOptions;
  #dirty = new Set<string>();
  #model: Model;
  #node: Node | undefined;

  constructor(options: ModelFeedOptions) {
    this.#options = options;
    this.#model = emptyModel(options.family, nodeFacts(options.nodeName, undefined));
    // What the store holds already counts as new.
    for (const key of options.store.snapshot.services.keys()) this.#dirty.add(key);
  }

  /** The Model as of the last pull. */
  get model(): Model {
    return this.#model;
  }

  /**
   * This node's object. A deleted one stays in force until it is there again: the machine still has its address and its pods, and
   * rules without its pod CIDR would treat them as strangers.
   */
  get node(): Node | undefined {
    const { store, nodeName } = this.#options;
    const now = store.snapshot.nodes.get(nodeName);
    if (now !== undefined) this.#node = withoutGaps(now, this.#node);
    return this.#node;
  }

  /** What policy depends on, as of now. */
  get nodeFacts(): NodeFacts {
    const { nodeName, allowedExternalIPs, ownServer } = this.#options;
    const server = ownServer?.();
    return {
      ...nodeFacts(nodeName, this.node),
      ...(allowedExternalIPs && { allowedExternalIPs: allowedExternalIPs() }),
      ...(server && { ownServer: server }),
    };
  }

  /** Services to look at again at the next pull. */
  note(dirty: Dirty): void {
    for (const key of dirty.services) this.#dirty.add(key);
  }

  /** The newest Model; `changed` names what differs since the last pull. */
  pull(): Model {
    const { store, onContest } = this.#options;
    const { snapshot } = store;
    const dirty = this.#dirty;
    this.#dirty = new Set();
    const previous = this.#model;
    this.#model = updateModel(previous, snapshot, dirty, this.nodeFacts);
    for (const key of this.#model.contested) {
      if (!previous.contested.has(key)) onContest(describeContest(key, this.#model.claims));
      this.#tellLosses(key, previous);
    }
    return this.#model;
  }
  #tellLosses(key: string, previous: Model): void {
    const { onLoss } = this.#options;
    const { claims } = this.#model;
    if (onLoss === undefined || claims.get(key) === previous.claims.get(key)) return;
    for (const loss of newLosses(key, previous.claims, claims)) onLoss(loss);
  }
}
