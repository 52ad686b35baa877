/** The verbs of CNI over what the agent works with: one at a time for an attachment, side by side for others. */

import { idOf, readNetworkConfig } from '../config/network.ts';
import { parseRangeSets } from '../config/ranges.ts';
import { isObject } from '../config/reader.ts';
import { attachmentText } from '../ipam/attachment.ts';
import { monotonicMs } from '../ipam/boot.ts';
import type { Lease } from '../ipam/lease.ts';
import { idOfLease, leasesOf, leasesOfAttachment } from '../ipam/lease.ts';
import type { FreeOutcome, FreeRequest } from '../ipam/routes.ts';
import { type AgentReply, type AgentRequest, type AttachmentId, attachmentKey, CniError, CODE } from '../types.ts';
import { addAttachment, chainedID, isAlive } from './add.ts';
import { checkAttachment } from './check.ts';
import { collectGarbage } from './gc.ts';
import type { AgentParts } from './parts.ts';
import { configOf, keptConfig } from './plan.ts';
import { removeAttachment } from './remove.ts';
import { TakenOver } from './taken-over.ts';
import { Tending } from './tending.ts';
import { Turns } from './turns.ts';

/** Others have what an ADD wants. */
const HELD: ReadonlySet<number> = new Set([CODE.noAddress, CODE.addressTaken, CODE.portTaken]);

export class Agent {
  readonly #parts: AgentParts;
  readonly #turns = new Turns();
  readonly #takenOver: TakenOver;
  readonly tending: Tending;

  constructor(parts: AgentParts) {
    this.#parts = parts;
    this.#takenOver = new TakenOver(parts);
    this.tending = new Tending({
      parts,
      isBusy: id => this.#turns.has(attachmentKey(unchained(id))),
      inTurn: (id, work) => this.#turns.run(attachmentKey(unchained(id)), work),
    });
  }

  /** Never rejects. `signal` is aborted when nobody waits for the answer any more: an ADD is then undone. */
  async handle(request: AgentRequest, signal: AbortSignal): Promise<AgentReply> {
    try {
      await this.#takeOver(request);
      return (await this.#serve(request, signal)) ?? {};
    } catch (error) {
      return { error: this.#errorReply(request, error) };
    }
  }

  /** A DEL goes on without what the plugin before left. @throws CniError */
  async #takeOver(request: AgentRequest): Promise<void> {
    try {
      await this.#takenOver.know(request);
    } catch (error) {
      if (request.command !== 'DEL') throw error;
      this.#parts.log.warn({ err: error }, 'what the plugin before gave is not known');
    }
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    return this.#turns.idle();
  }

  #serve(request: AgentRequest, signal: AbortSignal): Promise<AgentReply | undefined> {
    const inTurn = <T>(work: () => Promise<T>) => this.#turns.run(attachmentKey(idOf(request)), work);
    switch (request.command) {
      case 'ADD':
        return inTurn(() => this.#add(request, signal));
      case 'DEL':
        return inTurn(() => this.#delete(request));
      case 'CHECK':
        return inTurn(() => checkAttachment(this.#parts, request)).then(() => undefined);
      case 'GC':
        return this.#collect(request).then(() => undefined);
      case 'STATUS':
        return this.#status(request).then(() => undefined);
    }
  }

  /** What is in the way of it may be a pod's that is gone without a DEL: that makes room. */
  async #add(request: AgentRequest, signal: AbortSignal): Promise<AgentReply> {
    try {
      return await addAttachment(this.#parts, request, signal);
    } catch (error) {
      if (!(error instanceof CniError) || !HELD.has(error.code) || signal.aborted) throw error;
    }
    await this.tending.sweep();
    return addAttachment(this.#parts, request, signal);
  }

  /** Of the attachment and of what was chained to it; a plugin that had us give addresses has us take those back alone. */
  async #delete(request: AgentRequest): Promise<AgentReply> {
    const id = idOf(request);
    const kept = this.#parts.store.get(id);
    const config = kept && configOf(kept);
    if (this.#parts.store.get(chainedID(id)) !== undefined) await removeAttachment(this.#parts, chainedID(id));
    if (config?.role === 'addresses' && request.config.kproxyDelegated !== true) return {};
    this.#takenOver.removeLink(request);
    await removeAttachment(this.#parts, id);
    const formerIpam = config?.delegate;
    return formerIpam === undefined || formerIpam.type === ipamTypeOf(request) ? {} : { formerIpam };
  }

  #collect(request: AgentRequest): Promise<void> {
    const candidates = this.#parts.store
      .byNetwork(String(request.config.name))
      .filter(({ id, state }) => state === 'ready' && !this.#turns.has(attachmentKey(unchained(id))));
    const remove = (id: AttachmentId) =>
      this.#turns.run(attachmentKey(unchained(id)), () => removeAttachment(this.#parts, id));
    return collectGarbage(request, { candidates, remove });
  }

  /** @throws CniError: 50 = an ADD would fail, 51 = pods that live lack something */
  async #status(request: AgentRequest): Promise<void> {
    const { store, settings } = this.#parts;
    const config = readNetworkConfig({ ...request, containerID: '-', ifname: '-' });
    const problem = store.recover();
    if (problem !== undefined) throw new CniError(CODE.unavailable, problem);
    if (config.ipam === 'own') {
      const { podCIDRs } = settings();
      const { ipamSection: ipam, runtimeRanges } = config;
      const sets = this.#rangesFor({ ipam, podCIDRs, ...(runtimeRanges === undefined ? {} : { runtimeRanges }) });
      const { isOfNode } = keptConfig(config);
      const full = sets.filter(set => !store.hasAddresses(config.id.network, [set], isOfNode));
      if (full.length > 0)
        throw new CniError(
          CODE.unavailable,
          `no IP addresses available in range set: ${full.map(({ key }) => key).join('; ')}`,
        );
    }
    const [missing] = await this.tending.problems();
    if (missing !== undefined) throw new CniError(CODE.impaired, missing);
  }

  #rangesFor(source: Parameters<typeof parseRangeSets>[0]): ReturnType<typeof parseRangeSets> {
    try {
      return parseRangeSets(source);
    } catch (error) {
      if (error instanceof CniError && error.code === CODE.tryAgain)
        throw new CniError(CODE.unavailable, error.message, error.details);
      throw error;
    }
  }

  /** An ADD that an agent before left in the middle. */
  undo(id: AttachmentId): Promise<void> {
    return this.#turns
      .run(attachmentKey(unchained(id)), () => removeAttachment(this.#parts, id))
      .catch((error: unknown) => {
        this.#parts.log.error({ err: error, attachment: id }, 'an unfinished ADD can not be undone yet');
      });
  }

  /** The bridges of all links. */
  bridges(): ReadonlySet<string> {
    return new Set(
      this.#parts.store.all().flatMap(attachment => {
        const kept = configOf(attachment);
        return kept?.role === 'link' ? [kept.port.bridge] : [];
      }),
    );
  }

  list(): readonly Lease[] {
    const { store } = this.#parts;
    return leasesOf({ attachments: store.all(), rests: store.rests(), nowMs: monotonicMs(), wallMs: Date.now() });
  }

  async free(request: FreeRequest): Promise<FreeOutcome> {
    const { store } = this.#parts;
    const isAsked = (lease: Lease) =>
      'containerID' in request
        ? lease.containerID === request.containerID
        : lease.network === request.network && lease.address === request.address;
    const asked = store.all().filter(attachment => leasesOfAttachment(attachment).some(isAsked));
    const living = asked.find(attachment => isAlive(this.#parts, attachment));
    if (living !== undefined && !request.isForced)
      return { refused: `${attachmentText(living)} lives: its network goes with DEL, or with --force` };
    if (asked.length === 0 && 'address' in request) store.endRest(request.network, request.address);
    const freed = asked.flatMap(attachment => leasesOfAttachment(attachment));
    for (const lease of freed) {
      const id = idOfLease(lease);
      await this.#turns.run(attachmentKey(unchained(id)), () => removeAttachment(this.#parts, id));
    }
    return { freed };
  }

  #errorReply(request: AgentRequest, error: unknown): NonNullable<AgentReply['error']> {
    const { command, containerID, ifname } = request;
    const what = { command, network: request.config.name, containerID, ifname, pod: request.args.K8S_POD_NAME ?? '' };
    if (error instanceof CniError) {
      this.#parts.log.warn({ ...what, code: error.code, details: error.details }, error.message);
      return { code: error.code, msg: error.message, ...(error.details === '' ? {} : { details: error.details }) };
    }
    this.#parts.log.error({ ...what, err: error }, 'a request failed, please report this');
    return { code: CODE.kernel, msg: error instanceof Error ? error.message : String(error) };
  }
}

function ipamTypeOf({ config: { ipam } }: AgentRequest): unknown {
  return isObject(ipam) ? ipam.type : undefined;
}

function unchained(id: AttachmentId): AttachmentId {
  return { ...id, ifname: id.ifname.replace(/:chained$/, '') };
}
