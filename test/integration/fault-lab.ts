/** What the fault tests share: Services whose every lost connection is seen, and traffic to them while something goes wrong. */
import { expect } from 'vitest';
import type { TrafficTarget } from '../../src/lab/exchange.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { type NodeLayout, nodes } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import type { RunningTraffic } from '../../src/lab/traffic-run.ts';
import type { TrafficReport } from '../../src/lab/traffic-tally.ts';
import {
  awaitUsed,
  endpoint,
  endpoint6,
  type ServiceFields,
  serviceObject,
  servicesPath,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';

/** A Service of both families with endpoints of one's own choice. */
interface Watched extends ServiceFields {
  readonly clusterIP6: string;
  readonly nodePort: number;
}

/** Has the same endpoints all the time. */
const steady = watched('steady', 1);
/** Has one endpoint at a time. */
const moving = watched('moving', 2);

function watched(name: string, number: number): Watched {
  const nodePort = 30700 + number;
  const ports = withNodePort(nodePort);
  return { name, clusterIP: `10.96.7.${number}`, clusterIP6: `fd00:10:96::7${number}`, ports, nodePort };
}

/** Makes a Service with a slice for each family of the lab; without IPv6, one that has IPv4 only. */
export async function createDual(
  lab: Lab,
  { clusterIP6, ...fields }: Watched,
  pods: readonly PodState[],
): Promise<void> {
  await lab.api.create(servicesPath(), serviceObject(lab.hasIPv6 ? { ...fields, clusterIP6 } : fields));
  const { name, ports } = fields;
  const inIPv4 = pods.map(pod => endpoint(pod));
  await lab.api.create(slicesPath(), sliceObject({ name, ports, endpoints: inIPv4 }));
  if (!lab.hasIPv6) return;
  const inIPv6 = { name: `${name}-v6`, service: name, addressType: 'IPv6', ports };
  await lab.api.create(slicesPath(), sliceObject({ ...inIPv6, endpoints: pods.map(pod => endpoint6(pod)) }));
}

export async function setDual(lab: Lab, name: string, pods: readonly PodState[]): Promise<void> {
  await lab.api.patch(`${slicesPath()}/${name}`, { endpoints: pods.map(pod => endpoint(pod)) });
  if (lab.hasIPv6) {
    await lab.api.patch(`${slicesPath()}/${name}-v6`, { endpoints: pods.map(pod => endpoint6(pod)) });
  }
}

export interface Arrival {
  readonly service: string;
  readonly pods: readonly PodState[];
  readonly on?: readonly string[];
  /** Default 20 s. */
  readonly withinMs?: number;
}

/** Resolves when the rules of both families lead to these pods. @throws when they don't in time */
export async function awaitDual(lab: Lab, { service, ...wanted }: Arrival): Promise<void> {
  const families = lab.hasIPv6 ? (['IPv4', 'IPv6'] as const) : (['IPv4'] as const);
  await Promise.all(families.map(family => awaitUsed(lab, { service: `default/${service}`, family, ...wanted })));
}

/**
 * Two Services in a lab of four pods: one whose endpoints stay and one whose single endpoint moves between two pods, and traffic to both
 * through one node. Endpoints are always ready, so nothing that happens excuses a single failure.
 */
export class Stage {
  readonly lab: Lab;
  readonly node: NodeLayout;
  /** The two pods between which the endpoint moves: the one that has it now, and the other. */
  #movers: readonly [PodState, PodState];

  private constructor(lab: Lab, node: NodeLayout, movers: readonly [PodState, PodState]) {
    this.lab = lab;
    this.node = node;
    this.#movers = movers;
  }

  static async build(lab: Lab, node: NodeLayout = nodes[0]): Promise<Stage> {
    const [one, other, third, fourth] = lab.pods as [PodState, PodState, PodState, PodState];
    await createDual(lab, steady, [one, other]);
    await createDual(lab, moving, [third]);
    const stage = new Stage(lab, node, [third, fourth]);
    await awaitDual(lab, { service: steady.name, pods: [one, other] });
    await stage.awaitMoved();
    return stage;
  }

  /** The pod of a node that connects. */
  clientOn(node: NodeLayout): PodState {
    return this.lab.pods.find(pod => pod.node === node.name)!;
  }

  /** Tells the API server that the other pod is the endpoint now. */
  async move(): Promise<void> {
    const [from, to] = this.#movers;
    await setDual(this.lab, moving.name, [to]);
    this.#movers = [to, from];
  }

  /** Tells the API server that the moving endpoint is gone, and resolves when `through` returned and the node has that in its rules. */
  async empty(through: () => Promise<void>): Promise<void> {
    await setDual(this.lab, moving.name, []);
    await through();
    await awaitDual(this.lab, { service: moving.name, pods: [], on: [this.node.name] });
  }

  /** The ways to the Service whose endpoint moves, as reports of traffic name them. */
  isMoving(target: string): boolean {
    const hosts = [`${moving.clusterIP}:`, `[${moving.clusterIP6}]:`];
    return hosts.some(host => target.startsWith(host)) || target.includes(`:${moving.nodePort}/`);
  }

  /** The API server is back at the time before a move. */
  noteMovedBack(): void {
    const [from, to] = this.#movers;
    this.#movers = [to, from];
  }

  /** Resolves when the node (or others) has the last move in its rules. @throws when it hasn't in time (default 10 s) */
  async awaitMoved(withinMs = 10_000, on: readonly string[] = [this.node.name]): Promise<void> {
    await awaitDual(this.lab, { service: moving.name, pods: [this.#movers[0]], on, withinMs });
  }

  /** Only the present endpoint answers new connections, over both families. */
  async expectMoved(): Promise<void> {
    const [pod] = this.#movers;
    const client = this.clientOn(this.node);
    const addresses = this.lab.hasIPv6 ? [moving.clusterIP, moving.clusterIP6] : [moving.clusterIP];
    for (const address of addresses) {
      const { replies, failures } = await this.lab.probe(client.name, { address, port: 80, count: 10 });
      expect(failures).toEqual([]);
      expect(new Set(replies.map(reply => reply.pod))).toEqual(new Set([pod.name]));
    }
  }

  /** Both Services over both families, TCP and UDP: from a pod, and from off-cluster through a node. */
  targetsOf(node = this.node): {
    readonly inside: readonly TrafficTarget[];
    readonly outside: readonly TrafficTarget[];
  } {
    const { lab } = this;
    const udp = { protocol: 'udp' } as const;
    const hosts = (service: Watched) => (lab.hasIPv6 ? [service.clusterIP, service.clusterIP6] : [service.clusterIP]);
    const nodeHosts = lab.hasIPv6 ? [node.address, node.address6] : [node.address];
    const inside = [
      ...[...hosts(steady), ...hosts(moving)].map(address => ({ address, port: 80 })),
      ...hosts(steady).map(address => ({ address, port: 80, ...udp })),
    ];
    const outside = [
      ...nodeHosts.flatMap(address => [steady, moving].map(({ nodePort: port }) => ({ address, port }))),
      ...nodeHosts.map(address => ({ address, port: steady.nodePort, ...udp })),
    ];
    return { inside, outside };
  }

  /** Starts traffic from a pod of a node and from off-cluster through it. */
  async startTraffic(node = this.node): Promise<StageTraffic> {
    const { inside, outside } = this.targetsOf(node);
    const running = await Promise.all([
      this.lab.traffic(this.clientOn(node).name, { targets: inside, connectionsPerSecond: 100, held: 10 }),
      this.lab.traffic('client', { targets: outside, connectionsPerSecond: 100, held: 10 }),
    ]);
    return new StageTraffic(running);
  }

  /** Runs something under traffic that must not lose a connection, old or new. */
  async withoutLoss(body: () => Promise<void>): Promise<void> {
    await using traffic = await this.startTraffic();
    await body();
    await traffic.expectNoLoss();
  }
}

export class StageTraffic implements AsyncDisposable {
  readonly #running: readonly RunningTraffic[];

  constructor(running: readonly RunningTraffic[]) {
    this.#running = running;
  }

  /** Stops it. @throws when a connection failed, or there was no traffic to speak of */
  async expectNoLoss(): Promise<void> {
    for (const report of await this.stop()) {
      expect(report.failures).toEqual([]);
      expect(report).toMatchObject({ answered: report.opened, held: { opened: 10, failed: 0 } });
      expect(report.answered).toBeGreaterThan(10);
      expect(report.held.answers).toBeGreaterThan(10);
      for (const [target, { opened }] of Object.entries(report.targets)) expect(opened, target).toBeGreaterThan(0);
    }
  }

  stop(): Promise<TrafficReport[]> {
    return Promise.all(this.#running.map(running => running.stop()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.map(running => running[Symbol.asyncDispose]()));
  }
}
