/** What the agent does by itself: others may take away links, bridges and rules, pods may go without a DEL, and agents before it may have died in the middle. */
import { parseRangeSets } from '../config/ranges.ts';
import { type AttachmentId, attachmentKey, CniError } from '../types.ts';
import { hostLinkOf } from '../wiring/names.ts';
import type { Fault } from '../wiring/standing.ts';
import { isAlive } from './add.ts';
import type { AgentParts, AgentSettings } from './parts.ts';
import { configOf, gatewaysOf } from './plan.ts';
import { removeAttachment } from './remove.ts';
import { standingSpecs } from './standing-specs.ts';
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

  /** Links that no attachment has, attachments whose pod is gone, and gateways that no pod has any more. What can't be removed is in the log, and is tried again with the next sweep. Nothing, while no disk says what there is. */
  async sweep(): Promise<void> {
    const { parts } = this.#options;
    if (!parts.store.isLoaded) return;
    const links = parts.wiring.listOwn();
    const names = new Set(links.map(({ hostLink }) => hostLink));
    const known = new Set(parts.store.all().map(({ id }) => hostLinkOf(id)));
    for (const { hostLink, alias, id } of links) {
      if (known.has(hostLink) || (id !== undefined && this.#isInUse(id))) continue;
      await this.#try({ hostLink, alias }, 'a link of no attachment', () => parts.wiring.detach({ hostLink, alias }));
    }
    for (const attachment of parts.store.all()) {
      const { id } = attachment;
      // Others may have come in its place since the kernel was asked.
      if (parts.store.get(id) !== attachment || this.#options.isBusy(id)) continue;
      const isGone =
        configOf(attachment) === undefined
          ? isFreedElsewhere(attachment)
          : !names.has(hostLinkOf(id)) && !isAlive(parts, attachment);
      if (!isGone) continue;
      const work = () => removeAttachment(parts, id);
      await this.#try({ attachment: attachmentKey(id) }, 'an attachment whose pod is gone', () =>
        this.#options.inTurn(id, work),
      );
    }
    this.#dropGateways();
  }

  readonly #isInUse = (id: AttachmentId) => this.#options.isBusy(id) || this.#options.parts.store.get(id) !== undefined;

  /** The node has other ranges, and no pod is in the old ones any more: another node may have them. */
  #dropGateways(): void {
    const { store, wiring, settings, log } = this.#options.parts;
    const gateways = gatewaysOfNode(settings());
    if (gateways === undefined) return;
    const kept = new Set([...gateways, ...store.all().flatMap(({ addresses }) => gatewaysOf(addresses))]);
    const dropped = wiring.dropGateways(kept);
    if (dropped.length > 0) log.info({ dropped }, 'gateways of ranges that the node has no more, nor any pod: removed');
  }

  /** Bridges, their ports and rules that somebody changed or took away. */
  async repair(): Promise<void> {
    const { parts } = this.#options;
    this.#rejoin();
    const switches = parts.localnet.problems();
    if (switches.length > 0) parts.log.warn({ problems: switches }, 'somebody changed what hostPorts need: set again');
    parts.localnet.follow();
    await parts.rules.repair();
  }

  /** What is missing under pods that live, for STATUS. */
  async problems(): Promise<readonly string[]> {
    const { parts } = this.#options;
    const links = this.#faults().map(({ problem }) => problem);
    const rules = (await parts.rules.isIntact()) ? [] : ['rules of pods are missing'];
    return [...links, ...parts.localnet.problems(), ...rules];
  }

  #faults(): readonly Fault[] {
    const { parts, isBusy } = this.#options;
    return parts.wiring.faults(standingSpecs(parts.store.all().filter(({ id }) => !isBusy(id))));
  }

  /** A bridge has its addresses and its ports again; one that is made anew, its MAC too. */
  #rejoin(): void {
    const { wiring, log } = this.#options.parts;
    const faults = this.#faults();
    if (faults.length === 0) return;
    const problems = [...new Set(faults.map(({ problem }) => problem))];
    const failures = new Set<string>();
    for (const spec of new Set(faults.map(({ spec }) => spec))) {
      try {
        wiring.rejoin(spec);
      } catch (error) {
        if (!(error instanceof CniError)) throw error;
        failures.add(error.message);
      }
    }
    if (failures.size === 0)
      log.warn({ problems }, 'somebody changed bridges of pods or their ports: they are as they were again');
    else log.error({ problems, failures: [...failures] }, 'bridges of pods or their ports are not as they were made');
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

/** With prefix lengths; undefined while the node has no ranges that could be used, of which an ADD tells. */
function gatewaysOfNode({ podCIDRs }: AgentSettings): readonly string[] | undefined {
  try {
    const ranges = parseRangeSets({ ipam: {}, podCIDRs }).flatMap(set => set.ranges);
    return ranges.map(({ gateway, prefixLength }) => `${gateway}/${prefixLength}`);
  } catch (error) {
    if (error instanceof CniError) return undefined;
    throw error;
  }
}
