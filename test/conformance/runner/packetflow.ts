/** The schema packetflow: cases of a node, its objects and probes, maybe in steps. See vectors/README.md for what each field means. */
import { canonicalIP, type IPFamily } from '../../../src/net/ip.ts';
import type { Protocol } from '../../../src/watch/objects.ts';
import { parseEndpoint } from './endpoint-text.ts';

export type SourceType = 'pod' | 'node' | 'localhost' | 'external' | 'lb-ip';

export interface NodeConfig {
  readonly nodeName: string;
  readonly nodeIPs: readonly string[];
  readonly primaryNodeIP?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly ipFamilies: readonly IPFamily[];
  readonly localDetect: {
    readonly mode: string;
    readonly cidrs?: readonly string[];
    /** With the modes that look for an interface, one more field has its name or prefix. */
    readonly [field: string]: unknown;
  };
  readonly masqueradeAll?: boolean;
  readonly localhostNodePorts?: boolean;
  readonly nodePortAddresses?: readonly string[];
  readonly serviceCIDRs?: readonly string[];
}

export type Verdict = 'REJECT' | 'DROP' | 'ACCEPT' | 'none';
export type Expectation =
  | { readonly endpoints: readonly string[]; readonly masquerade: boolean }
  | { readonly verdict: Verdict };

export interface Probe {
  readonly name: string;
  readonly sourceType: SourceType;
  readonly sourceIP: string;
  readonly proto: Protocol;
  readonly destIP: string;
  readonly destPort: number;
  readonly expect: Expectation;
  readonly expectByBackend?: Readonly<Record<string, Expectation>>;
  readonly backends?: readonly string[];
}

export interface Step {
  readonly delete?: readonly string[];
  readonly apply?: readonly unknown[];
  readonly probes?: readonly Probe[];
}

export interface PacketflowCase {
  readonly name: string;
  readonly backends?: readonly string[];
  readonly nodeConfig: NodeConfig;
  readonly nodeConfigByBackend?: Readonly<Record<string, Partial<NodeConfig>>>;
  readonly objects?: readonly unknown[];
  readonly probes?: readonly Probe[];
  readonly steps?: readonly Step[];
}

/** The steps of a case for one backend, the initial state as the first; each probe with the expectation that holds there. */
export function stepsOf(flow: PacketflowCase, backend: string): readonly Required<Step>[] {
  const first: Step = { apply: flow.objects ?? [], probes: flow.probes ?? [] };
  return [first, ...(flow.steps ?? [])].map(step => ({
    delete: step.delete ?? [],
    apply: step.apply ?? [],
    probes: (step.probes ?? []).map(probe => probeFor(probe, backend)),
  }));
}

const SOURCES: ReadonlySet<string> = new Set<SourceType>(['pod', 'node', 'localhost', 'external', 'lb-ip']);
const PROTOCOLS: ReadonlySet<string> = new Set<Protocol>(['TCP', 'UDP', 'SCTP']);
const VERDICTS: ReadonlySet<string> = new Set<Verdict>(['REJECT', 'DROP', 'ACCEPT', 'none']);

/** The probe with canonical addresses. @throws TypeError when the schema doesn't know it */
function probeFor(probe: Probe, backend: string): Probe {
  const [sourceIP, destIP] = [probe.sourceIP, probe.destIP].map(canonicalIP);
  if (sourceIP === undefined || destIP === undefined) throw new TypeError(`the probe '${probe.name}' has no address`);
  if (!SOURCES.has(probe.sourceType)) throw new TypeError(`unknown sourceType: ${probe.sourceType}`);
  if (!PROTOCOLS.has(probe.proto)) throw new TypeError(`unknown proto: ${probe.proto}`);
  const expect = probe.expectByBackend?.[backend] ?? probe.expect;
  if ('verdict' in expect && !VERDICTS.has(expect.verdict)) throw new TypeError(`unknown verdict: ${expect.verdict}`);
  if ('verdict' in expect) return { ...probe, sourceIP, destIP, expect };
  return { ...probe, sourceIP, destIP, expect: { ...expect, endpoints: expect.endpoints.map(canonicalEndpoint) } };
}

function canonicalEndpoint(text: string): string {
  return parseEndpoint(text).text;
}

/** The node's settings for one backend. */
export function nodeConfigFor(flow: PacketflowCase, backend: string): NodeConfig {
  return { ...flow.nodeConfig, ...flow.nodeConfigByBackend?.[backend] };
}

/** Whether a case or a probe is meant for a backend; without a list it is for all. */
export function isFor({ backends }: { readonly backends?: readonly string[] }, backend: string): boolean {
  return backends === undefined || backends.includes(backend);
}
