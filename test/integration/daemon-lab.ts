/** What the tests of daemons in a lab share: objects, knowing when a node is up to date, probes as sets, logs and rules. */
import { existsSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, vi } from 'vitest';
import { DUMP_PATH, SOCKET_NAME } from '../../src/dump/server.ts';
import { type DumpState, isDumpState } from '../../src/dump/state.ts';
import { runtimeDir } from '../../src/lab/daemons.ts';
import { projectDir } from '../../src/lab/install.ts';
import type { Lab, ProbeTarget } from '../../src/lab/lab.ts';
import { type NodeLayout, nodeLayout, nodes, podPort } from '../../src/lab/layout.ts';
import { obstacle } from '../../src/lab/netns.ts';
import type { ProbeReport } from '../../src/lab/probe.ts';
import type { PodState } from '../../src/lab/state.ts';
import { ExecError, run } from '../../src/linux/exec.ts';
import type { IPFamily } from '../../src/net/ip.ts';
import { describeUnless } from './requires.ts';

/** Why there can be no lab with daemons here; '' when there can. */
export const lacking = await findObstacle();

/** Tests that need a lab with daemons; skipped, with the reason in their title, where there can be none. */
export function describeLab(title: string, body: () => void): void {
  describeUnless(lacking, title, body);
}

async function findObstacle(): Promise<string> {
  if (!existsSync(join(projectDir, 'dist/kproxy-ts.mjs'))) return "the daemons run from dist/: 'npm run build' first";
  try {
    for (const tool of ['iptables-nft-save', 'iptables-nft-restore', 'nft', 'curl', 'ss', 'flock'])
      await run(tool, ['--version']);
  } catch (error) {
    if (error instanceof ExecError) return error.message;
    throw error;
  }
  return obstacle();
}

/** A name for a lab that no other run of the tests uses. */
export function labName(prefix: string): string {
  return `${prefix}_${process.pid.toString(36)}`;
}

export interface Port {
  readonly name?: string;
  readonly protocol?: 'TCP' | 'UDP';
  readonly port: number;
  readonly nodePort?: number;
}

/** Both protocols on port 80. */
export const bothProtocols: readonly Port[] = [
  { name: 'tcp', protocol: 'TCP', port: 80 },
  { name: 'udp', protocol: 'UDP', port: 80 },
];

/** Both protocols on port 80 and a nodePort. */
export function withNodePort(nodePort: number): readonly Port[] {
  return bothProtocols.map(port => ({ ...port, nodePort }));
}

interface Named {
  readonly name: string;
  readonly namespace?: string;
}

export interface ServiceFields extends Named {
  readonly clusterIP: string;
  /** Makes it dual stack. */
  readonly clusterIP6?: string;
  readonly ports: readonly Port[];
  /** More of the spec. */
  readonly spec?: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export function serviceObject(fields: ServiceFields): object {
  const { name, namespace = 'default', clusterIP, clusterIP6, ports, spec = {}, annotations = {} } = fields;
  const type = ports.some(port => port.nodePort !== undefined) ? 'NodePort' : 'ClusterIP';
  const families =
    clusterIP6 === undefined
      ? { clusterIPs: [clusterIP], ipFamilies: ['IPv4'] }
      : { clusterIPs: [clusterIP, clusterIP6], ipFamilies: ['IPv4', 'IPv6'], ipFamilyPolicy: 'RequireDualStack' };
  const base = { type, clusterIP, ...families, ports };
  return { apiVersion: 'v1', kind: 'Service', metadata: { name, namespace, annotations }, spec: { ...base, ...spec } };
}

export type Conditions = { readonly ready?: boolean; readonly serving?: boolean; readonly terminating?: boolean };

/** A pod as an endpoint, ready unless said otherwise. */
export function endpoint(pod: PodState, conditions: Conditions = {}): object {
  const { ready = true, serving = ready, terminating = false } = conditions;
  return { addresses: [pod.ip], nodeName: pod.node, conditions: { ready, serving, terminating } };
}

export interface SliceFields extends Named {
  /** The Service; default: the one with the slice's name. */
  readonly service?: string;
  readonly ports: readonly Port[];
  readonly endpoints: readonly object[];
  readonly addressType?: string;
}

/** The same over IPv6, for a slice whose addressType is IPv6. */
export function endpoint6(pod: PodState, conditions: Conditions = {}): object {
  return { ...endpoint(pod, conditions), addresses: [pod.ip6] };
}

/** The pods answer each port of the Service on their one port. */
export function sliceObject({ name, namespace = 'default', service = name, ...fields }: SliceFields): object {
  const { addressType = 'IPv4', endpoints } = fields;
  const ports = fields.ports.map(({ name: portName = '', protocol = 'TCP' }) => ({
    name: portName,
    protocol,
    port: podPort,
  }));
  const metadata = { name, namespace, labels: { 'kubernetes.io/service-name': service } };
  return { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata, addressType, ports, endpoints };
}

export function servicesPath(namespace = 'default'): string {
  return `/api/v1/namespaces/${namespace}/services`;
}

export function slicesPath(namespace = 'default'): string {
  return `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`;
}

/** Creates a Service and a slice of its name with these endpoints. */
export async function createService(lab: Lab, fields: ServiceFields, endpoints: readonly object[]): Promise<void> {
  const { name, namespace = 'default', ports } = fields;
  await lab.api.create(servicesPath(namespace), serviceObject(fields));
  await lab.api.create(slicesPath(namespace), sliceObject({ name, namespace, ports, endpoints }));
}

export async function setEndpoints(lab: Lab, slice: string, endpoints: readonly object[]): Promise<void> {
  await lab.api.patch(`${slicesPath()}/${slice}`, { endpoints });
}

/** What a node's daemon says that it serves, compared with the kernel. @throws when it doesn't answer */
export async function readDump(lab: Lab, node: string): Promise<DumpState> {
  const socketPath = join(runtimeDir(lab.name, node), SOCKET_NAME);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const outgoing = request({ socketPath, path: DUMP_PATH }, incoming => void text(incoming).then(resolve, reject));
  outgoing.on('error', reject).end();
  const state: unknown = JSON.parse(await promise);
  if (isDumpState(state)) return state;
  throw new Error(`${socketPath} answers no dump`);
}

/** The addresses that a Service's rules on a node lead to, of all its ports; a word when that isn't (yet) to be said. */
async function usedBy(lab: Lab, node: string, service: Pick<Awaited, 'service' | 'family'>) {
  const { families } = await readDump(lab, node);
  const family = families.find(candidate => candidate.family === (service.family ?? 'IPv4'));
  const ports = family?.services.filter(port => `${port.namespace}/${port.name}` === service.service) ?? [];
  if (family?.comparison !== 'steady') return 'not steady';
  if (ports.length === 0) return 'no such Service';
  if (ports.some(port => port.state !== 'ok')) return 'not programmed';
  const used = ports.flatMap(port => port.endpoints.filter(({ used: isUsed }) => isUsed).map(({ ip }) => ip));
  return [...new Set(used)].toSorted();
}

export interface Awaited {
  readonly service: string;
  /** The pods that the Service's ports lead to, together. */
  readonly pods: readonly PodState[];
  /** Default IPv4. */
  readonly family?: IPFamily;
  /** Default: both. */
  readonly on?: readonly string[];
  /** Default 20 s. */
  readonly withinMs?: number;
}

/** Resolves when the kernels of the nodes have a Service with exactly these endpoints. @throws when they don't in time */
export async function awaitUsed(lab: Lab, awaited: Awaited): Promise<void> {
  const { service, pods, family = 'IPv4', on = nodes.map(({ name }) => name), withinMs } = awaited;
  const wanted = pods.map(({ ip, ip6 }) => (family === 'IPv4' ? ip : ip6)).toSorted();
  const check = async (node: string) =>
    expect(await usedBy(lab, node, { service, family }), `${service} on ${node}, ${family}`).toEqual(wanted);
  await Promise.all(on.map(node => eventually(() => check(node), withinMs)));
}

/** Resolves when the daemons (of both nodes, unless said otherwise) don't know the Service, and its rules are gone. */
export async function awaitGone(lab: Lab, service: string, on = nodes.map(({ name }) => name)): Promise<void> {
  await Promise.all(
    on.map(name => eventually(async () => expect(await usedBy(lab, name, { service })).toBe('no such Service'))),
  );
}

/** Repeats until it doesn't throw. @throws what it threw last, after 20 s unless said otherwise */
export function eventually(check: () => unknown, withinMs = 20_000): Promise<unknown> {
  return vi.waitFor(check, { timeout: withinMs, interval: 20 });
}

/** So many connections that each of n equally likely endpoints is among the answers but for once in 10^13 times. */
export function enoughFor(endpoints: number): number {
  return endpoints === 1 ? 3 : Math.ceil((Math.log(endpoints) + 30) / -Math.log(1 - 1 / endpoints));
}

/** The outcomes of a probe, each once, sorted: `web-1 saw 10.244.1.3`, or the error. */
export function outcomes({ replies, failures }: ProbeReport): string[] {
  const seen = [...replies.map(({ pod, clientIP }) => `${pod} saw ${clientIP}`), ...failures.map(({ error }) => error)];
  return [...new Set(seen)].toSorted();
}

/** Probes and returns the outcomes. */
export async function ask(lab: Lab, from: string, target: ProbeTarget): Promise<string[]> {
  return outcomes(await lab.probe(from, target));
}

/** The outcomes when exactly these pods answer, each seeing the client under the address that `sourceOf` says. */
export function answers(pods: readonly PodState[], sourceOf: (pod: PodState) => string): string[] {
  return pods.map(pod => `${pod.name} saw ${sourceOf(pod)}`).toSorted();
}

/** The source that masquerading on a node gives a packet: the address of the interface by which it leaves for the pod. */
export function masqueradedAt(node: NodeLayout): (pod: PodState) => string {
  return pod => (pod.node === node.name ? node.gateway : node.address);
}

/** A pod keeps its address, except when it reaches itself: then its own node masquerades. */
export function fromPod(client: PodState): (pod: PodState) => string {
  return pod => (pod.name === client.name ? nodeLayout(pod.node).gateway : client.ip);
}

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly component?: string;
  readonly family?: string;
  readonly object?: string;
  readonly problems?: readonly { readonly field: string }[];
}

/** The log of a node's daemons, the earlier ones' included. */
export function logLines(lab: Lab, node: string): readonly LogLine[] {
  const lines = readFileSync(join(lab.directory, `${node}.log`), 'utf8').split('\n');
  // What is being written right now has no line end yet.
  return lines.slice(0, -1).map(line => JSON.parse(line) as LogLine);
}

/** A node's rules with their comments, which name Services, as iptables-save prints them. */
export async function rulesOf(lab: Lab, node: string): Promise<string> {
  return (await lab.exec(node, ['iptables-nft-save'])).stdout;
}

/** A node's rules with their handles, which change when a rule is written again. */
export async function handlesOf(lab: Lab, node: string): Promise<string> {
  const { stdout } = await lab.exec(node, ['nft', '-a', 'list', 'ruleset']);
  return stdout.replaceAll(/counter packets \d+ bytes \d+/g, 'counter');
}
