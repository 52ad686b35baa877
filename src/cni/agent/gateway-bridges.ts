/** On which bridge the gateways of a network are. */
import type { Attachment } from '../ipam/attachment.ts';
import type { AttachmentStore } from '../ipam/store.ts';
import { configOf, gatewaysOf } from './plan.ts';

/** Remembered from ADD to ADD, so that one more costs the same however many pods there are. */
export class GatewayBridges {
  readonly #store: Pick<AttachmentStore, 'all'>;
  #bridges: Map<string, string> | undefined;

  constructor(store: Pick<AttachmentStore, 'all'>) {
    this.#store = store;
  }

  /** Whether a gateway of this attachment was last on another bridge: then its pods are to be looked for. */
  isElsewhere(attachment: Attachment, bridge: string): boolean {
    const bridges = this.#known(attachment);
    return keysOf(attachment).some(key => (bridges.get(key) ?? bridge) !== bridge);
  }

  /** No pod keeps it from this bridge. */
  note(attachment: Attachment, bridge: string): void {
    const bridges = this.#known(attachment);
    for (const key of keysOf(attachment)) bridges.set(key, bridge);
  }

  #known(newcomer: Attachment): Map<string, string> {
    if (this.#bridges !== undefined) return this.#bridges;
    const bridges = new Map<string, string>();
    for (const attachment of this.#store.all()) {
      const kept = configOf(attachment);
      if (kept?.role !== 'link' || !kept.port.isGateway || attachment.id === newcomer.id) continue;
      for (const key of keysOf(attachment)) bridges.set(key, kept.port.bridge);
    }
    this.#bridges = bridges;
    return bridges;
  }
}

const keysOf = ({ id, addresses }: Attachment) => gatewaysOf(addresses).map(gateway => `${id.network} ${gateway}`);
