/** A small cluster in network namespaces: two nodes, pods, an off-cluster client, an API server. For `kproxy-ts lab` and for tests. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Output, type RunOptions, run } from '../linux/exec.ts';
import { LabApi } from './api.ts';
import { restartApi, startControl, takeApiSnapshot } from './control.ts';
import {
  configurationFile,
  nodeEnv,
  type StartedDaemon,
  type StartOptions,
  startDaemon,
  stopDaemon,
} from './daemons.ts';
import { beginFault, type Fault, type FaultKind, type Faults } from './fault.ts';
import { projectDir } from './install.ts';
import { type LabOptions, newState, refuseSecond } from './lab-options.ts';
import { checkLabName, clusterDns, fixedMembers, namespaceOf, nodes } from './layout.ts';
import {
  apiUrl,
  daemonPod,
  daemonPodStatus,
  dnsService,
  nodeObject,
  podObject,
  podStatus,
  webService,
} from './manifests.ts';
import { buildNetwork } from './network.ts';
import { reservePod, startPods, stopPod } from './pods.ts';
import type { ProbeReport, ProbeRequest } from './probe.ts';
import { type RunningProbe, startProbe } from './probe-run.ts';
import { Probers } from './prober.ts';
import { labVariable } from './process.ts';
import { labDir, type PodState, readState, StateFile } from './state.ts';
import { Talk } from './talk.ts';
import { prepareHost, type Removed, tearDown } from './tear-down.ts';
import type { TrafficRequest } from './traffic.ts';
import { RunningTraffic } from './traffic-run.ts';

export type ProbeTarget = Pick<ProbeRequest, 'address' | 'port'> & Partial<Omit<ProbeRequest, 'address' | 'port'>>;

export type WantedTraffic = Pick<TrafficRequest, 'targets' | 'connectionsPerSecond'> & Partial<TrafficRequest>;

export interface PublishedPod {
  readonly pod: PodState;
  readonly acceptedAt: number;
}

const pods = '/api/v1/namespaces/default/pods';

/**
 * Brings a lab up. It lives until `close()`, and past our own end once `handOver()` was called; leftovers of a lab of this name whose
 * process crashed are removed first.
 * @throws when a lab of this name is up, or a step fails: what was made so far is then removed again
 */
export async function createLab(options: LabOptions): Promise<Lab> {
  const name = checkLabName(options.name);
  await refuseSecond(name);
  await tearDown(name);
  await prepareHost();
  await mkdir(labDir(name)); // fails for the second of two that start at the same time
  const lab = new Lab(await newState(name, options));
  try {
    await lab.build(options);
    return lab;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** The lab of this name that another process brought up. @throws when there is none */
export function openLab(name: string): Lab {
  const state = readState(checkLabName(name));
  if (state === null) throw new Error(`no lab '${name}': bring it up with 'kproxy-ts lab up'`);
  return new Lab(new StateFile(state));
}

/** A lab that is up. Members are `node-a`, `node-b`, `client`, `control` and the names of the pods. */
export class Lab implements AsyncDisposable {
  readonly api: LabApi;
  /** The API server as seen from inside the lab's namespaces. */
  readonly apiUrl = apiUrl;
  readonly #state: StateFile;
  readonly #probers: Probers;

  constructor(state: StateFile) {
    this.#state = state;
    this.#probers = new Probers(state.current.name);
    this.api = new LabApi(join(labDir(state.current.name), 'api.sock'));
  }

  get name(): string {
    return this.#state.current.name;
  }

  get pods(): readonly PodState[] {
    return this.#state.current.pods;
  }

  /** Nodes, pods and `web` have IPv6 addresses too. */
  get hasIPv6(): boolean {
    return this.#state.current.hasIPv6;
  }

  /** The daemons answer the cluster's names, and pods ask them. */
  get hasDns(): boolean {
    return this.#state.current.hasDns;
  }

  /** The directory with kubeconfig, logs and configuration files. */
  get directory(): string {
    return labDir(this.name);
  }

  /** Only for `createLab`: everything in order, each step in the state before it is taken. */
  async build(options: LabOptions): Promise<void> {
    const step = async (work: () => Promise<void>) => {
      options.signal?.throwIfAborted();
      await work();
    };
    const wanted = Array.from({ length: options.pods ?? 4 }, (_, index) => nodes[index % nodes.length]!.name);
    await step(() => buildNetwork(this.#state));
    await step(() => startControl(this.#state, { validate: options.validate ?? true }));
    await step(() => this.#register());
    const startPods = async () => {
      const prepared = await this.preparePods(wanted);
      await Promise.all(prepared.map(pod => this.publishPod(pod)));
    };
    // Where daemons give pods their network, they are there first, as on a node.
    const startDaemons = () => ((options.daemons ?? true) ? this.#startDaemons(options.signal) : Promise.resolve());
    const inOrder = this.#state.current.hasCni ? [startDaemons, startPods] : [startPods, startDaemons];
    for (const start of inOrder) await step(start);
    options.signal?.throwIfAborted();
    this.#state.update({ phase: 'ready' });
  }

  async #register(): Promise<void> {
    await Promise.all(nodes.map(node => this.api.create('/api/v1/nodes', nodeObject(node, this))));
    await this.api.create('/api/v1/namespaces/default/services', webService(this));
    if (this.hasDns) await this.#registerDns();
  }

  async #registerDns(): Promise<void> {
    const { namespace } = clusterDns;
    await this.api.create(`/api/v1/namespaces/${namespace}/services`, dnsService(this));
    const daemons = `/api/v1/namespaces/${namespace}/pods`;
    for (const node of nodes) {
      const { body } = await this.api.create(daemons, daemonPod(node));
      await this.api.patch(`${daemons}/${String(body.metadata.name)}/status`, { status: daemonPodStatus(node, this) });
    }
  }

  async #startDaemons(signal?: AbortSignal): Promise<void> {
    await Promise.all(nodes.map(node => this.startDaemon(node.name, { signal })));
  }

  /** Lets the lab live on when this process ends. */
  handOver(): void {
    this.#state.update({ owner: null });
  }

  /** The namespace of a member, for tools of one's own. @throws when there is no such member */
  netns(member: string): string {
    const members = [...fixedMembers, ...this.pods.map(pod => pod.name)];
    if (members.includes(member)) return namespaceOf(this.name, member);
    throw new Error(`lab '${this.name}' has no '${member}'; it has ${members.join(', ')}`);
  }

  /** Environment of a program that runs in a member's namespace. */
  env(member: string): Record<string, string> {
    const isNode = nodes.some(node => node.name === member);
    return {
      [labVariable]: this.name,
      KUBECONFIG: join(this.directory, 'kubeconfig'),
      KUBECACHEDIR: join(this.directory, 'kube-cache'),
      PATH: `${join(projectDir, 'bin')}:${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
      ...(isNode ? nodeEnv(this.name, member) : {}),
    };
  }

  /** Runs a program in a member's namespace, with KUBECONFIG set. @throws {ExecError} */
  async exec(member: string, command: readonly [string, ...string[]], options: RunOptions = {}): Promise<Output> {
    const [program, ...args] = command;
    const env = { ...this.env(member), ...options.env };
    return run(program, args, { ...options, env, netns: this.netns(member) });
  }

  /** Makes connections from a member and reports who answered. Defaults: 1 TCP connection, 8 at a time, 2 s for each. */
  async probe(from: string, target: ProbeTarget): Promise<ProbeReport> {
    return this.#probers.probe(this.netns(from), requestOf(target));
  }

  /** The same in a process of its own; resolves when the first connection has its result, so that a change can be made under way. */
  startProbe(from: string, target: ProbeTarget): Promise<RunningProbe> {
    return startProbe({ lab: this.name, netns: this.netns(from), request: requestOf(target) });
  }

  /**
   * Steady traffic from a member to echo pods, in a process of its own, until it's stopped. Resolves when the held connections are open.
   * Defaults: none held, 3 s for a new connection as for a line of a held one.
   */
  traffic(from: string, wanted: WantedTraffic): Promise<RunningTraffic> {
    const request: TrafficRequest = { held: 0, timeoutMs: 3000, stallMs: 3000, ...wanted };
    return RunningTraffic.start({ lab: this.name, netns: this.netns(from), request });
  }

  /** Opens a TCP connection from a member to an echo pod and holds it. */
  talk(from: string, address: string, port: number): Promise<Talk> {
    return Talk.open({ lab: this.name, netns: this.netns(from), address, port });
  }

  /** Adds a pod to `web`. `acceptedAt`: when the API server had accepted it as ready, in ms since the epoch. */
  async addPod(node: string): Promise<PublishedPod> {
    const [pod] = await this.preparePods([node]);
    return this.publishPod(pod!);
  }

  /** Starts pods, one on each of the named nodes, that the API server doesn't know of yet. */
  async preparePods(nodeNames: readonly string[]): Promise<PodState[]> {
    const reserved = nodeNames.map(node => reservePod(this.#state, node));
    if (reserved.length > 0) await startPods(this.#state, reserved);
    return reserved;
  }

  /** Makes a prepared pod known as ready, so that the Service gets it as an endpoint. */
  async publishPod(pod: PodState): Promise<PublishedPod> {
    await this.api.create(pods, podObject(pod));
    const { acceptedAt } = await this.api.patch(`${pods}/${pod.name}/status`, { status: podStatus(pod) });
    return { pod, acceptedAt };
  }

  /** Deletes a pod from the API and, unless `keepRunning`, ends its process and namespace too. */
  async removePod(name: string, { keepRunning = false } = {}): Promise<{ acceptedAt: number }> {
    const pod = this.pods.find(candidate => candidate.name === name);
    if (pod === undefined) throw new Error(`lab '${this.name}' has no pod '${name}'`);
    const { acceptedAt } = await this.api.delete(`${pods}/${name}`);
    if (!keepRunning) {
      this.#probers.end(this.netns(name));
      await stopPod(this.#state, pod);
    }
    return { acceptedAt };
  }

  /** Starts the daemon of a node; resolves when it's ready. @throws with the end of its log */
  startDaemon(node: string, options: StartOptions = {}): Promise<StartedDaemon> {
    return startDaemon(this.#state, node, options);
  }

  /** Ends the daemon of a node, or a second one by its name; resolves when its process has gone. */
  stopDaemon(node: string, how: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    return stopDaemon(this.#state, node, how);
  }

  async restartDaemon(node: string, how: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.stopDaemon(node, how);
    await this.startDaemon(node);
  }

  /** The API server forgets its history and breaks all watches: whoever hasn't seen the newest version lists anew. */
  async dropWatches(): Promise<void> {
    await this.fault('compact', {});
    await this.fault('dropWatches', {});
  }

  /** Makes something go wrong, until the fault ends; resolves when it's in force. */
  fault<K extends FaultKind>(kind: K, options: Faults[K]): Promise<Fault> {
    return beginFault(this.name, kind, options);
  }

  /** The API server remembers what it holds now; resolves to a number for `restartApiServer`. */
  takeSnapshot(): Promise<number> {
    return takeApiSnapshot(this.name);
  }

  /** Stops and starts the API server: with its data, or back in time with those of a snapshot. */
  restartApiServer({ snapshot }: { readonly snapshot?: number } = {}): Promise<void> {
    return restartApi(this.name, snapshot);
  }

  /** The configuration file of a daemon, by node (or by the name of a second one). */
  configurationFile(name: string): string {
    return configurationFile(this.name, name);
  }

  /** Removes the lab. Idempotent. */
  close(): Promise<Removed> {
    this.#probers.endAll();
    return tearDown(this.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function requestOf(target: ProbeTarget): ProbeRequest {
  return { protocol: 'tcp', count: 1, concurrency: 8, timeoutMs: 2000, ...target };
}
