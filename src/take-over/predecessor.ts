/** What is done about the rules of whoever programmed this node before: another mode of ours, or kube-proxy. */
import type { KernelCallOptions } from '../backends/backend.ts';
import type { Mode } from '../backends/mode.ts';
import type { Configuration } from '../config/configuration.ts';
import type { ProxyMode } from '../config/proxy-modes.ts';
import type { Logger } from '../log.ts';
import { loadModes } from '../modes.ts';
import type { Programmed, SyncFollower } from '../sync-follower.ts';
import type { IPFamily } from '../watch/objects.ts';
import { differences } from './differences.ts';
import { findKubeProxy } from './kube-proxy-process.ts';
import type { KubeProxyRules } from './kube-proxy-rules.ts';

export interface PredecessorOptions {
  readonly used: Mode;
  /** `--take-over`: what kube-proxy left goes too. */
  readonly takesOver: boolean;
  /** The one in effect. */
  readonly configuration: () => Configuration;
  readonly log: Logger;
  /** All that there are; these are for tests. */
  readonly modes?: () => Promise<readonly Mode[]>;
  /** What shows that a kube-proxy lives here. */
  readonly findAlive?: typeof findKubeProxy;
}

export class Predecessor {
  readonly #options: PredecessorOptions;
  readonly #log: Logger;
  /** The families that kube-proxy programmed, by its mode. */
  #found = new Map<ProxyMode, readonly IPFamily[]>();
  #rules: KubeProxyRulesOf[] = [];
  readonly #programmed = new Map<IPFamily, Programmed>();
  readonly #told = new Set<string>();

  constructor(options: PredecessorOptions) {
    this.#options = options;
    this.#log = options.log.child({ component: 'take-over' });
  }

  /** Sees what is there, before anything is programmed. Never rejects: what can't be seen is in the log, and stays. */
  async look(): Promise<void> {
    const { used, takesOver, modes = loadModes } = this.#options;
    this.#found = new Map();
    this.#rules = [];
    for (const mode of await modes()) {
      // Without --take-over, all that counts is what mustn't be taken for ours.
      if (!takesOver && (mode.name === used.name || !mode.kubeProxy.areShared)) continue;
      const families = await mode.kubeProxy.find();
      this.#found.set(mode.name, families);
      if (families.length > 0 && !takesOver) this.#warnOfOthers(mode.name);
      for (const family of takesOver ? families : []) await this.#read(family, mode);
    }
  }

  /** Remembers what a family has programmed, for the comparison. */
  follower(family: IPFamily): SyncFollower {
    return {
      pulled: () => undefined,
      synced: programmed => {
        this.#programmed.set(family, programmed);
      },
      paused: () => undefined,
    };
  }

  /** All of a family is programmed: what others left there goes. Rejects only when `signal` ends it; what can't be removed is in the log. */
  async retire(family: IPFamily, call: KernelCallOptions = {}): Promise<void> {
    const { used, takesOver, log, modes: load = loadModes } = this.#options;
    const modes = await load();
    const isKubeProxys = ({ name }: Mode) => this.#found.get(name)?.includes(family) === true;
    const mayRemove = takesOver && modes.some(isKubeProxys) && (await this.#hasEnded());
    for (const mode of modes) {
      const isTheirs = isKubeProxys(mode);
      if (isTheirs && mayRemove) this.#tellDifferences(family, mode.name);
      const staysTheirs = isTheirs && !mayRemove && mode.kubeProxy.areShared;
      if (mode.name !== used.name && !staysTheirs) await mode.removeLeftovers(family, { log, ...call });
      if (isTheirs && mayRemove) await this.#remove(family, mode, call);
    }
  }

  async #read(family: IPFamily, { kubeProxy }: Mode): Promise<void> {
    try {
      const rules = await kubeProxy.read(family);
      if (rules !== undefined) this.#rules.push({ family, rules });
    } catch (err) {
      this.#log.warn({ err, family }, 'what kube-proxy left cannot be read, so it is not compared with ours');
    }
  }

  /** Its tables in nftables, `warnOfPredecessors` tells of. */
  #warnOfOthers(name: ProxyMode): void {
    if (this.#told.has(name)) return;
    this.#told.add(name);
    this.#log.warn(
      {},
      "kube-proxy's iptables rules are on this node and send packets to the endpoints of then: run with --take-over, or remove them with 'kube-proxy --cleanup'",
    );
  }

  async #hasEnded(): Promise<boolean> {
    const { findAlive = findKubeProxy, configuration } = this.#options;
    const signs = await findAlive({ addresses: configuration() });
    if (signs.length > 0) {
      this.#log.warn({ signs }, `kube-proxy runs again: its rules stay, and two programs write: ${signs.join('; ')}`);
    }
    return signs.length === 0;
  }

  #tellDifferences(family: IPFamily, layout: ProxyMode): void {
    const { used, configuration } = this.#options;
    const theirs = this.#rules.find(({ family: of, rules }) => of === family && rules.layout === layout)?.rules;
    const programmed = this.#programmed.get(family);
    if (theirs === undefined || programmed === undefined) return;
    const { model, nodePortAddresses, hasLocalhostNodePorts } = programmed;
    const ours = {
      mode: used.name,
      services: model.routes.keys(),
      nodePortAddresses,
      hasLocalhostNodePorts,
      ...(used.name === 'iptables' && { masqueradeBit: configuration().iptables.masqueradeBit }),
    };
    const lines = differences(theirs, ours);
    for (const line of lines) this.#log.info({ family }, `differs from kube-proxy's ${layout} mode: ${line}`);
    const count = theirs.services.size;
    this.#log.info(
      { family, count },
      `taken over from kube-proxy's ${layout} mode: ${count} ports of Services, ${lines.length} differences`,
    );
  }

  async #remove(family: IPFamily, { name, kubeProxy }: Mode, call: KernelCallOptions): Promise<void> {
    try {
      await kubeProxy.remove(family, { log: this.#log, ...call });
    } catch (err) {
      call.signal?.throwIfAborted();
      this.#log.warn(
        { err, family },
        `what kube-proxy left of its ${name} mode cannot be removed: packets pass it too`,
      );
    }
  }
}

interface KubeProxyRulesOf {
  readonly family: IPFamily;
  readonly rules: KubeProxyRules;
}
