/** The backends that cases can be run against: how each is traced, and how it is programmed into a real kernel. */

import type { Plan } from '../../../src/backends/backend.ts';
import { diff } from '../../../src/backends/diff.ts';
import { createIptablesBackend } from '../../../src/backends/iptables/backend.ts';
import type { IptablesObject } from '../../../src/backends/iptables/objects.ts';
import { iptablesOptions } from '../../../src/backends/iptables/options.ts';
import { toolsOf } from '../../../src/backends/iptables/tools.ts';
import { type Landing, rulesetOf, trace } from '../../../src/backends/iptables/trace.ts';
import { nodeWith } from '../../../src/backends/iptables/trace-rule.ts';
import { createNftablesBackend } from '../../../src/backends/nftables/backend.ts';
import { normalise } from '../../../src/backends/nftables/normalise.ts';
import type { NftObject } from '../../../src/backends/nftables/objects.ts';
import { nftablesOptions } from '../../../src/backends/nftables/options.ts';
import { rulesetOf as nftRulesetOf, trace as nftTrace } from '../../../src/backends/nftables/trace.ts';
import { changesSince, planAll } from '../../../src/backends/route-changes.ts';
import type { Configuration } from '../../../src/config/configuration.ts';
import type { Model } from '../../../src/endpoints/types.ts';
import { endpointText } from '../../../src/endpoints/types.ts';
import type { IPFamily } from '../../../src/net/ip.ts';
import type { Node } from '../../../src/watch/objects.ts';
import { FakeIptables } from '../../fakes/iptables.ts';
import { FakeNfTables } from '../../fakes/nf-tables.ts';
import { outsideInterface, podInterface } from './node-config.ts';
import type { NodeConfig, Probe } from './packetflow.ts';
import type { Program, ProgramOptions } from './packets/program.ts';
import type { Sighting } from './sighting.ts';

export interface TracedKernelOptions {
  readonly family: IPFamily;
  readonly configuration: Configuration;
  readonly node: NodeConfig;
}

/** A stand-in for the kernel of one family: it holds what a backend wrote, and tells where packets go by it. */
export interface TracedKernel {
  /** Takes it from what it holds to what `model` asks for. Rejects when an object is refused. */
  program(model: Model, node: Node | undefined): Promise<void>;
  /** All that may become of the probe. Throws when a rule can't be traced. */
  trace(probe: Probe): readonly Sighting[];
  /** What it holds, an object a line. */
  contents(): Promise<readonly string[]>;
}

export interface BackendEntry {
  /** The name under which cases say what holds for it. */
  readonly column: string;
  readonly newTracedKernel: (options: TracedKernelOptions) => TracedKernel;
  /** Starts the product in the network namespace of this process; loaded when it's used, because it is all of the product. */
  readonly startProgram: (options: ProgramOptions) => Promise<Program>;
}

/** Another backend is one more entry here. */
export const BACKENDS: Readonly<Record<string, BackendEntry>> = {
  iptables: {
    column: 'iptables',
    newTracedKernel: newTracedIptables,
    startProgram: async options => (await import('./packets/program-families.ts')).startIptables(options),
  },
  nftables: {
    column: 'nftables',
    newTracedKernel: newTracedNftables,
    startProgram: async options => (await import('./packets/program-families.ts')).startNftables(options),
  },
};

/** Modes that the product is to have, for an answer that is better than "unknown". */
const TO_COME: ReadonlySet<string> = new Set(['ipvs', 'userspace']);

/** @throws RangeError for a name that isn't a backend, with those that are */
export function backendNamed(name: string): BackendEntry {
  const entry = Object.hasOwn(BACKENDS, name) ? BACKENDS[name] : undefined;
  if (entry !== undefined) return entry;
  const known = Object.keys(BACKENDS).join(', ');
  const what = TO_COME.has(name) ? `the backend ${name} doesn't exist yet` : `unknown backend ${name}`;
  throw new RangeError(`${what}; there is: ${known}`);
}

function newTracedIptables({ family, configuration, node: config }: TracedKernelOptions): TracedKernel {
  const fake = new FakeIptables(toolsOf('nft', family));
  let nodeObject: Node | undefined;
  const backend = createIptablesBackend(() => iptablesOptions(configuration, nodeObject, family), fake.io);
  let current: Plan<IptablesObject> = new Map();
  let ruleset = rulesetOf('');
  return {
    program: async (model, node) => {
      nodeObject = node;
      const applied = await backend.apply(diff(current, planAll(backend, model)), current);
      const [failure] = applied.failures;
      if (failure !== undefined) throw failure.error;
      current = applied.plan;
      ruleset = rulesetOf(fake.save('nat') + fake.save('filter'));
    },
    trace: probe => {
      const isFromNode = probe.sourceType !== 'pod' && probe.sourceType !== 'external';
      const inInterface = interfaceOf(probe, config);
      const { sourceIP: source, destIP: destination, destPort: port, proto: protocol } = probe;
      const own = nodeWith(isFromNode ? [...config.nodeIPs, source] : config.nodeIPs);
      const landings = trace(ruleset, { source, destination, port, protocol, inInterface }, own);
      return landings.map(end => sightingOf(end, !isFromNode && own.isLocal(end.destination)));
    },
    contents: async () =>
      [...(await backend.read())].map(([key, object]) => `${key} ${JSON.stringify(object)}`).toSorted(),
  };
}

function newTracedNftables({ family, configuration, node: config }: TracedKernelOptions): TracedKernel {
  const kernel = new FakeNfTables();
  let nodeObject: Node | undefined;
  const serviceCIDRs = config.serviceCIDRs ?? [];
  const options = () => nftablesOptions(configuration, { node: nodeObject, family, serviceCIDRs, kernel: undefined });
  const backend = createNftablesBackend(options, { family, kernel });
  let current: Plan<NftObject> = new Map();
  let previous: Model | undefined;
  let ruleset = nftRulesetOf(current, family);
  return {
    program: async (model, node) => {
      nodeObject = node;
      const changes =
        previous === undefined
          ? diff(current, planAll(backend, model), { settle: backend.settle })
          : changesSince(backend, { previous, current, model });
      const { plan, failures } = await backend.apply(changes, current);
      const [failure] = failures;
      if (failure !== undefined) throw failure.error;
      [current, previous] = [plan, model];
      ruleset = nftRulesetOf(await backend.read(), family);
    },
    trace: probe => {
      const isFromNode = probe.sourceType !== 'pod' && probe.sourceType !== 'external';
      const { sourceIP: source, destIP: destination, destPort: port, proto: protocol } = probe;
      const inInterface = interfaceOf(probe, config);
      const { isLocal } = nodeWith(isFromNode ? [...config.nodeIPs, source] : config.nodeIPs);
      const landings = nftTrace(ruleset, { source, destination, port, protocol, inInterface }, isLocal);
      return landings.map(end => sightingOf({ ...end, isAccepted: false }, !isFromNode && isLocal(end.destination)));
    },
    contents: async () => normalise(await backend.read()),
  };
}

/** The interface that a probe comes in by; '' for what the node itself sends. */
function interfaceOf({ sourceType }: Probe, config: NodeConfig): string {
  if (sourceType === 'pod') return podInterface(config);
  return sourceType === 'external' ? outsideInterface(config) : '';
}

/** `isReceived`: it comes from elsewhere and ends on the node, where no source is rewritten. */
function sightingOf(landing: Omit<Landing, 'path'>, isReceived: boolean): Sighting {
  if (landing.verdict !== 'delivered') return { verdict: landing.verdict };
  const { destination: ip, port, isTranslated, isMasqueraded, isAccepted } = landing;
  if (isTranslated)
    return { endpoint: endpointText({ ip, port }), masquerade: isReceived && !isMasqueraded ? 'never' : isMasqueraded };
  if (isMasqueraded) return { other: 'none, but masqueraded' };
  return { verdict: isAccepted ? 'ACCEPT' : 'none' };
}
