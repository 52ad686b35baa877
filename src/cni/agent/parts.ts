/** What the agent's verbs work with. */
import type { Logger } from '../../log.ts';
import type { AttachmentStore } from '../ipam/store.ts';
import type { CniRules } from '../rules/cni-rules.ts';
import type { PodFlows } from '../rules/flows.ts';
import type { Wiring } from '../wiring/wiring.ts';
import type { GatewayBridges } from './gateway-bridges.ts';
import type { Localnet } from './localnet.ts';
import type { HeldPorts } from './messages.ts';

/** What the daemon tells the agent, whenever it changes. */
export interface AgentSettings {
  /** Of the Node; undefined = not known yet. */
  readonly podCIDRs: readonly string[] | undefined;
  /** Where pods are known by their own addresses, beside their own networks. */
  readonly nonMasqueradeCIDRs: readonly string[];
}

export interface AgentParts {
  readonly store: AttachmentStore;
  readonly wiring: Wiring;
  readonly rules: CniRules;
  readonly flows: Pick<PodFlows, 'flush'>;
  /** Has others' rule sets let through what goes by a bridge; what is there already costs nothing. */
  readonly acceptBridge: (bridge: string) => Promise<void>;
  readonly localnet: Localnet;
  readonly gatewayBridges: GatewayBridges;
  readonly settings: () => AgentSettings;
  /** Whoever knows the Services hears of each change. */
  readonly tellPorts: (ports: HeldPorts) => void;
  readonly log: AgentLog;
}

export type AgentLog = Pick<Logger, 'info' | 'warn' | 'error'>;
