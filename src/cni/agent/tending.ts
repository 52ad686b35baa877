/** What the agent does by itself: others may take away links, bridges and rules, pods may go without a DEL, and agents before it may have died in the middle. */
import { type AttachmentId, attachmentKey } from '../types.ts';
import { hostLinkOf } from '../wiring/names.ts';
import { isAlive } from './add.ts';
import type { AgentParts } from './parts.ts';
import { configOf, linkSpecOf } from './plan.ts';
import { removeAttachment } from './remove.ts';
import { isFreedElsewhere } from './taken-over.ts';

export interface TendingOptions {
  readonly parts: AgentParts;
  /** Something is under way for this attachment. */
  readonly isBusy: (id: AttachmentId) => boolean;
  /** When nothing else is. */
  readonly inTurn: (id: AttachmentId, work: () => Promise<void>) => Promise<void>;
}

export class Tending {
  readonly #options: TendingOptions;

  constructor(options: TendingOptions) {
    this.#options = options;
  }

  /** Links that no attachment has, and attachments whose pod is gone. What can't be removed is in the log, and is tried again with the next sweep. Nothing, while no disk says what there is. */
  async sweep(): Promise<void> {
    const { parts } = this.#options;
    if (!parts.store.isLoaded) return;
    const links = parts.wiring.listOwn();
    const names = new Set(links.map(({ hostLink }) => hostLink));
    const known = new Set(parts.store.all().map(({ id }) => hostLinkOf(id)));
    for (const { hostLink, alias, id } of links) {
      if (known.has(hostLink) || (id !== undefined && this.#options.isBusy(id))) continue;
      await this.#try({ hostLink, alias }, 'a link of no attachment', () => parts.wiring.detach({ hostLink, alias }));
    }
    for (const attachment of parts.store.all()) {
      const { id } = attachment;
      const isGone =
        configOf(attachment) === undefined
          ? isFreedElsewhere(attachment)
          : !names.has(hostLinkOf(id)) && !isAlive(parts, attachment);
      if (!isGone || this.#options.isBusy(id)) continue;
      const work = () => removeAttachment(parts, id);
      await this.#try({ attachment: attachmentKey(id) }, 'an attachment whose pod is gone', () =>
        this.#options.inTurn(id, work),
      );
    }
  }

  /** Bridges and rules that somebody took away. */
  async repair(): Promise<void> {
    const { parts } = this.#options;
    this.#rejoin();
    if (await parts.rules.isIntact()) return;
    parts.log.warn({}, 'somebody changed the rules of pods: they are written again');
    await parts.rules.repair();
    parts.localnet.follow();
  }

  /** What is missing under pods that live, for STATUS. */
  async problems(): Promise<readonly string[]> {
    const { parts } = this.#options;
    const bridges = this.#missingBridges().map(name => `the bridge ${name} is missing`);
    return [...bridges, ...((await parts.rules.isIntact()) ? [] : ['rules of pods are missing'])];
  }

  #missingBridges(): readonly string[] {
    const { parts } = this.#options;
    return [...this.#bridges().keys()].filter(name => !parts.wiring.hasBridge(name));
  }

  /** A bridge comes back with its addresses, its MAC and its ports. */
  #rejoin(): void {
    const { parts } = this.#options;
    for (const bridge of this.#missingBridges()) {
      const ports = this.#bridges().get(bridge) ?? [];
      for (const spec of ports) parts.wiring.rejoin(spec);
      parts.log.warn({ bridge, ports: ports.length }, 'somebody removed the bridge: it is there again, with its ports');
    }
  }

  /** The links of each bridge that pods have. */
  #bridges(): Map<string, ReturnType<typeof linkSpecOf>[]> {
    const bridges = new Map<string, ReturnType<typeof linkSpecOf>[]>();
    for (const attachment of this.#options.parts.store.all()) {
      const kept = configOf(attachment);
      if (kept?.role !== 'link' || attachment.state !== 'ready') continue;
      const of = bridges.get(kept.port.bridge) ?? [];
      of.push(linkSpecOf(attachment, kept));
      bridges.set(kept.port.bridge, of);
    }
    return bridges;
  }

  async #try(what: object, why: string, work: () => Promise<void>): Promise<void> {
    const { log } = this.#options.parts;
    try {
      await work();
      log.info(what, `${why}: removed`);
    } catch (error) {
      log.error({ ...what, err: error }, `${why} can not be removed`);
    }
  }
}
