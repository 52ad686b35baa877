/** Pod networking in the daemon: an agent while this process is the node's writer and the configuration wants it. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Configuration } from '../../config/configuration.ts';
import type { Happening } from '../../events/event.ts';
import type { MissingPart } from '../../http/health-state.ts';
import type { Logger } from '../../log.ts';
import type { Dirty } from '../../watch/snapshot.ts';
import type { Store } from '../../watch/store.ts';
import type { AgentReadings } from '../agent/messages.ts';
import type { AgentSettings } from '../agent/parts.ts';
import type { IpamService } from '../ipam/routes.ts';
import { PortConflicts } from './port-conflicts.ts';
import { AgentThread } from './thread.ts';

/** Between an agent that ended by itself and the next. */
const AGAIN_MS = 1000;

export interface NodeCniOptions {
  readonly store: Store;
  readonly nodeName: string;
  readonly configuration: Configuration;
  readonly paths: { readonly agentSocket: string; readonly deferred: string };
  /** Where people hear of what happens to pods. */
  readonly record: (happening: Happening) => void;
  readonly log: Logger;
}

export class NodeCni implements AsyncDisposable {
  readonly #options: NodeCniOptions;
  #configuration: Configuration;
  readonly #conflicts: PortConflicts;
  #isOurs = false;
  #agent: AgentThread | undefined;
  /** With what the agent was started. */
  #stateDirectory = '';
  #podCIDRs: readonly string[] | undefined;
  /** undefined while an agent serves. */
  #problem: string | undefined = 'pods are not wired yet';
  #turn: Promise<void> = Promise.resolve();
  readonly #ended = new AbortController();

  constructor(options: NodeCniOptions) {
    this.#options = options;
    this.#configuration = options.configuration;
    this.#conflicts = new PortConflicts({
      snapshot: () => options.store.snapshot,
      record: options.record,
      log: options.log,
    });
  }

  /** For `kproxy-ts ipam`; undefined where no pods are wired here. */
  get ipam(): IpamService | undefined {
    const agent = this.#agent;
    if (agent === undefined) return undefined;
    return { list: async () => agent.call('list'), free: request => agent.call('free', request) };
  }

  /** Something of the cluster changed: the Node's pod CIDRs, or a Service's ports, perhaps. */
  note(dirty: Dirty): void {
    this.#conflicts.note(dirty);
    this.#followNode();
  }

  #followNode(): void {
    const { store, nodeName } = this.#options;
    const node = store.snapshot.nodes.get(nodeName);
    // A Node that registers anew has none for a while: those of before stay in force.
    if (node === undefined || node.podCIDRs.length === 0 || node.podCIDRs.join() === this.#podCIDRs?.join()) return;
    this.#podCIDRs = node.podCIDRs;
    this.#agent?.tell(this.#settings());
  }

  configure(next: Configuration): Promise<void> {
    this.#configuration = next;
    this.#agent?.tell(this.#settings());
    return this.#follow();
  }

  /** This process is the writer: pods are wired from now on. */
  serve(): void {
    this.#isOurs = true;
    void this.#follow();
  }

  /** Resolves when what was asked of the agent is answered, and the next one can have its files. */
  release(): Promise<void> {
    this.#isOurs = false;
    return this.#follow();
  }

  /** Why pods don't get their network here, where they are to. */
  missing(): readonly MissingPart[] {
    const isWanted = this.#isOurs && this.#configuration.cni.enabled;
    return isWanted && this.#problem !== undefined ? [{ part: 'cni', reason: this.#problem }] : [];
  }

  async readings(): Promise<AgentReadings | undefined> {
    return this.#agent?.call('readings').catch(() => undefined); // it ends right now: there is nothing to read
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.release();
  }

  /** One after the other: an agent, none, or another one. */
  #follow(): Promise<void> {
    this.#turn = this.#turn.then(async () => {
      const { enabled, stateDirectory } = this.#configuration.cni;
      const isWanted = this.#isOurs && enabled;
      if (this.#agent !== undefined && (!isWanted || stateDirectory !== this.#stateDirectory)) await this.#end();
      if (isWanted && this.#agent === undefined) await this.#begin();
    });
    return this.#turn;
  }

  async #end(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    this.#problem = 'pods are not wired yet';
    await agent?.[Symbol.asyncDispose]();
    this.#options.log.info('no pods are wired by this process any more; those that are stay so');
  }

  /** Never rejects: names and Services don't depend on it. */
  async #begin(): Promise<void> {
    const { paths, log } = this.#options;
    const { stateDirectory } = this.#configuration.cni;
    this.#followNode();
    this.#conflicts.clear();
    this.#stateDirectory = stateDirectory;
    const agent = new AgentThread({
      socketPath: paths.agentSocket,
      deferredDirectory: paths.deferred,
      stateDirectory,
      settings: this.#settings(),
      log,
      onDeath: error => this.#died(agent, error),
      onPorts: ports => this.#conflicts.hold(ports),
    });
    this.#agent = agent;
    try {
      await agent.started;
      this.#problem = undefined;
      log.info({ socket: paths.agentSocket }, 'pods get their network here');
    } catch (error) {
      this.#problem = error instanceof Error ? error.message : String(error);
      log.error({ err: error }, 'pods can not be wired; tried again');
      await this.#drop(agent);
    }
  }

  #died(agent: AgentThread, error: Error): void {
    if (this.#agent !== agent) return;
    this.#problem = error.message;
    this.#options.log.error({ err: error }, 'another takes its place');
    void this.#drop(agent);
  }

  /** One that didn't start, or ended: another one comes a little later. */
  async #drop(agent: AgentThread): Promise<void> {
    if (this.#agent === agent) this.#agent = undefined;
    await agent[Symbol.asyncDispose]();
    void delay(AGAIN_MS, undefined, { signal: this.#ended.signal }).then(
      () => this.#follow(),
      () => undefined, // the daemon ends
    );
  }

  #settings(): AgentSettings {
    const { detectLocal, cni } = this.#configuration;
    const cluster = detectLocal.mode === 'ClusterCIDR' ? detectLocal.cidrs : [];
    const own = this.#podCIDRs ?? [];
    return {
      podCIDRs: this.#podCIDRs,
      nonMasqueradeCIDRs: [...new Set([...cluster, ...own, ...cni.nonMasqueradeCIDRs])],
    };
  }
}
