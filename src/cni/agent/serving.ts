/** The agent with everything it works with: from the files and the kernel as they are found to a socket that answers. */
import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { NftSocket } from '../../linux/nf-tables.ts';
import { closeIdleNetfilter } from '../../linux/nfnetlink.ts';
import { monotonicMs, readBootId } from '../ipam/boot.ts';
import { badRowText } from '../ipam/loading.ts';
import { AttachmentStore, type OpenOutcome } from '../ipam/store.ts';
import { enableBridgeNetfilter } from '../rules/bridge-netfilter.ts';
import { chooseTables } from '../rules/choosing.ts';
import { CniRules } from '../rules/cni-rules.ts';
import { PodFlows } from '../rules/flows.ts';
import { Forwarding } from '../rules/forwarding.ts';
import type { PodRules } from '../rules/pod-rules.ts';
import { CniError, CODE } from '../types.ts';
import { createWiring } from '../wiring/wiring.ts';
import { adoptFromKernel } from './adopt.ts';
import { Agent } from './agent.ts';
import { Counts } from './counts.ts';
import { DeferredQueue } from './deferred-queue.ts';
import { GatewayBridges } from './gateway-bridges.ts';
import { Localnet } from './localnet.ts';
import type { AgentData, AgentReadings, HeldPorts } from './messages.ts';
import type { AgentLog, AgentParts, AgentSettings } from './parts.ts';
import { configOf, hasRules, podRulesOf } from './plan.ts';
import { heldPorts } from './remove.ts';
import { AgentServer } from './server.ts';

/** How often the kernel is looked at, and how often links and attachments are compared. */
const LOOK_MS = 2000;
const SWEEP_MS = 15_000;
/** Between two tries to have the database, which the agent before still has. */
const BUSY_MS = 50;
const BUSY_TRIES = 200;

export interface ServingOptions extends AgentData {
  readonly log: AgentLog;
  readonly currentSettings: () => AgentSettings;
  readonly tellPorts: (ports: HeldPorts) => void;
}

interface Made {
  readonly kernel: NftSocket;
  readonly forwarding: Forwarding;
  readonly outcomes: OpenOutcome[];
}

export class Serving {
  readonly agent: Agent;
  readonly counts: Counts;
  readonly #parts: AgentParts;
  readonly #server: AgentServer;
  readonly #deferred: DeferredQueue;
  readonly #stop = new AbortController();
  readonly #kernel: NftSocket;
  readonly #forwarding: Forwarding;
  /** Of the store's files, as long as they are not told. */
  readonly #outcomes: OpenOutcome[];
  #knowing: Promise<void> = Promise.resolve();
  #tending: Promise<void> = Promise.resolve();
  #nonMasqueradeCIDRs: readonly string[] = [];

  private constructor(options: ServingOptions, parts: AgentParts, made: Made) {
    this.#parts = parts;
    this.#kernel = made.kernel;
    this.#forwarding = made.forwarding;
    this.#outcomes = made.outcomes;
    this.agent = new Agent(parts);
    this.counts = new Counts();
    const { log, socketPath: path, deferredDirectory: directory } = options;
    this.#deferred = new DeferredQueue({
      directory,
      handle: request => this.agent.handle(request, this.#stop.signal),
      log,
    });
    this.#server = new AgentServer({
      path,
      log,
      handle: async (request, signal) => {
        await this.#know();
        if (request.command === 'ADD') await this.#deferred.workOff(request);
        return this.counts.count(request.command, () => this.agent.handle(request, signal));
      },
    });
  }

  /** Rejects when the kernel or the files can't be used at all; a disk that can't be written is no such case. */
  static async start(options: ServingOptions): Promise<Serving> {
    const { log, currentSettings: settings, tellPorts } = options;
    const outcomes: OpenOutcome[] = [];
    const store = await openStore(options, outcome => outcomes.push(outcome));
    const wiring = await createWiring();
    const kernel = new NftSocket();
    const { kind, tables } = await chooseTables({ kernel, log, ...(options.rules && { wanted: options.rules }) });
    const rules = new CniRules({ tables, log });
    const forwarding = new Forwarding({ kernel: kind === 'nftables' ? kernel : undefined, log });
    const localnet = new Localnet({ needed: () => rules.localnetBridges(), log });
    const accepted = new Set<string>();
    const acceptBridge = async (bridge: string) => {
      if (accepted.has(bridge)) return;
      accepted.add(bridge);
      tell(log, await forwarding.acceptForwarding(accepted));
    };
    const kernelParts = { wiring, rules, flows: new PodFlows(), acceptBridge, localnet };
    const gatewayBridges = new GatewayBridges(store);
    const parts = { store, ...kernelParts, gatewayBridges, settings, tellPorts, log };
    const serving = new Serving(options, parts, { kernel, forwarding, outcomes });
    await serving.#begin();
    return serving;
  }

  async #begin(): Promise<void> {
    const { store, rules, localnet, settings, log } = this.#parts;
    await this.#tellOpenings();
    for (const { id, state } of store.all()) if (state === 'intent') await this.agent.undo(id);
    this.#nonMasqueradeCIDRs = settings().nonMasqueradeCIDRs;
    await rules.start(this.#podRules(), { nonMasqueradeCIDRs: this.#nonMasqueradeCIDRs });
    const bridges = this.agent.bridges();
    localnet.inherit([...bridges, ...rules.localnetBridges()]);
    localnet.follow();
    for (const bridge of bridges) await this.#parts.acceptBridge(bridge);
    for (const problem of await enableBridgeNetfilter({ families: families() })) log.warn({}, problem);
    await this.#deferred.workOff();
    await this.agent.tending.sweep();
    for (const kept of store.all()) if (kept.hostPorts.length > 0) this.#parts.tellPorts(heldPorts(kept, []));
    await this.#server.listen();
    this.#tending = this.#tend();
  }

  readings(): AgentReadings {
    const { requests, seconds } = this.counts;
    return { attachments: this.#parts.store.size, requests, seconds, heapBytes: process.memoryUsage().heapUsed };
  }

  /** Where pods aren't masqueraded may have changed. */
  async follow(): Promise<void> {
    const { rules, settings, log } = this.#parts;
    const { nonMasqueradeCIDRs } = settings();
    if (nonMasqueradeCIDRs.join() === this.#nonMasqueradeCIDRs.join()) return;
    this.#nonMasqueradeCIDRs = nonMasqueradeCIDRs;
    try {
      await rules.start(this.#podRules(), { nonMasqueradeCIDRs });
    } catch (error) {
      log.error({ err: error }, 'where pods are masqueraded can not be changed');
    }
  }

  #podRules(): PodRules[] {
    const all = this.#parts.store.all().flatMap(attachment => {
      const kept = configOf(attachment);
      return kept === undefined ? [] : [podRulesOf(attachment, kept)];
    });
    return all.filter(hasRules);
  }

  /** What was asked is answered; the rest of the socket's callers find nobody. */
  async stop(): Promise<void> {
    await this.#server.close();
    this.#stop.abort();
    await this.#tending;
    await this.agent.idle();
    this.#parts.store[Symbol.dispose]();
    this.#parts.wiring[Symbol.dispose]();
    this.#kernel[Symbol.dispose]();
    closeIdleNetfilter();
  }

  /** Whether records were read. */
  async #tellOpenings(): Promise<boolean> {
    const outcomes = this.#outcomes.splice(0);
    for (const outcome of outcomes) await tellOpening(outcome, this.#parts);
    return outcomes.some(({ kind }) => kind !== 'rewritten');
  }

  /** The disk could be read later than at the start, by this try or one before: what pods have is known before anything more is given. */
  #know(): Promise<void> {
    const { store, log } = this.#parts;
    if (!store.isLoaded) store.recover();
    if (this.#outcomes.length > 0)
      this.#knowing = this.#knowing
        .then(() => this.#knowLate())
        .catch((error: unknown) => log.error({ err: error }, 'what pods have can not all be known'));
    return this.#knowing;
  }

  async #knowLate(): Promise<void> {
    if (!(await this.#tellOpenings())) return;
    await this.#parts.rules.start(this.#podRules(), { nonMasqueradeCIDRs: this.#nonMasqueradeCIDRs });
    this.#parts.localnet.follow();
  }

  /** What else there is to look after doesn't wait for it. */
  async #repairSocket(): Promise<void> {
    try {
      await this.#server.repair();
    } catch (error) {
      this.#parts.log.error({ err: error }, "the agent's socket is gone and can not be made again yet");
    }
  }

  async #tend(): Promise<void> {
    let sweepAt = performance.now() + SWEEP_MS;
    for (;;) {
      await delay(LOOK_MS, undefined, { signal: this.#stop.signal }).catch(() => undefined); // aborted: the loop ends
      if (this.#stop.signal.aborted) return;
      try {
        await this.#repairSocket();
        await this.#deferred.workOff();
        await this.#know();
        await this.agent.tending.repair();
        if (performance.now() < sweepAt) continue;
        sweepAt = performance.now() + SWEEP_MS;
        await this.agent.tending.sweep();
        this.#parts.store.recover();
        tell(this.#parts.log, await this.#forwarding.acceptForwarding(this.agent.bridges()));
      } catch (error) {
        this.#parts.log.error({ err: error }, 'what pods have can not be looked at; tried again');
      }
    }
  }
}

/** @throws CniError (11) when another agent keeps the database */
async function openStore(
  { stateDirectory: directory, bootId = readBootId() }: AgentData,
  onOpen: (outcome: OpenOutcome) => void,
): Promise<AttachmentStore> {
  for (let tries = 1; ; tries += 1) {
    try {
      return AttachmentStore.open({ directory, bootId, now: monotonicMs, onOpen });
    } catch (error) {
      const isBusy = error instanceof CniError && error.code === CODE.tryAgain;
      if (!isBusy || tries === BUSY_TRIES) throw error;
    }
    await delay(BUSY_MS);
  }
}

async function tellOpening(outcome: OpenOutcome, parts: AgentParts): Promise<void> {
  const { log } = parts;
  const { kind, movedAside, badRows, dropped } = outcome;
  if (dropped.length > 0)
    log.info({ attachments: dropped.length }, 'the machine was booted: attachments of before are gone');
  for (const row of badRows) log.error({}, badRowText(row));
  if (movedAside !== undefined)
    log.error({ ...movedAside }, 'the database of pods was damaged: it is moved aside and rebuilt from the kernel');
  if (kind === 'rewritten') return;
  const isMissing = kind === 'new' && movedAside === undefined;
  if (isMissing && parts.wiring.listOwn().length > 0)
    log.error(
      {},
      'there is no database of pods, though pods have links: is cni.stateDirectory what it was, and mounted?',
    );
  if (isMissing || movedAside !== undefined || badRows.length > 0) await adoptFromKernel(parts);
}

function tell(log: AgentLog, { problems, written }: { problems: readonly string[]; written: readonly string[] }): void {
  for (const problem of problems) log.warn({}, problem);
  if (written.length > 0) log.info({ written }, "others' rules let pods' packets pass");
}

const families = () => (existsSync('/proc/sys/net/ipv6') ? (['IPv4', 'IPv6'] as const) : (['IPv4'] as const));
