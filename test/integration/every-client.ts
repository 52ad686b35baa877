/** Traffic of every kind of client, that must not lose a connection, old or new. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'vitest';
import type { TrafficTarget } from '../../src/lab/exchange.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { type NodeLayout, nodes } from '../../src/lab/layout.ts';
import type { RunningTraffic } from '../../src/lab/traffic-run.ts';
import { UdpTalk } from './udp-talk.ts';

/** Connections that each client holds. */
const HELD = 10;
/** As long as the lab's traffic waits for an answer. */
const TIMEOUT_MS = 3000;

export interface EveryClient {
  readonly lab: Lab;
  /** By which the traffic goes. */
  readonly node: NodeLayout;
  /** Cluster IPs. */
  readonly inside: readonly TrafficTarget[];
  /** NodePorts of the node. */
  readonly outside: readonly TrafficTarget[];
}

/** The node itself, a pod on it, one elsewhere, and a client off the cluster; new connections, held ones, and UDP clients that keep their socket. */
export async function losingNothing(
  { lab, node, inside, outside }: EveryClient,
  body: () => Promise<void>,
): Promise<void> {
  const podOn = ({ name }: NodeLayout) => lab.pods.find(pod => pod.node === name)!.name;
  const near = podOn(node);
  const far = podOn(nodes.find(({ name }) => name !== node.name)!);
  const flows = [
    { from: node.name, targets: inside, connectionsPerSecond: 60 },
    { from: near, targets: [...inside, ...outside], connectionsPerSecond: 120 },
    { from: 'client', targets: outside, connectionsPerSecond: 80 },
    { from: far, targets: outside, connectionsPerSecond: 40 },
  ];
  await using running = new AsyncDisposableStack();
  const traffics: RunningTraffic[] = [];
  for (const { from, ...wanted } of flows) {
    traffics.push(running.use(await lab.traffic(from, { ...wanted, held: HELD })));
  }
  const udp = ({ protocol }: TrafficTarget) => protocol === 'udp';
  const talks = [
    ...(await Promise.all(inside.filter(udp).map(target => SteadyTalk.open(lab, near, target)))),
    ...(await Promise.all(outside.filter(udp).map(target => SteadyTalk.open(lab, 'client', target)))),
  ];
  for (const talk of talks) running.use(talk);
  const begun = performance.now();
  await body();
  const seconds = (performance.now() - begun) / 1000;
  for (const talk of talks) {
    const answers = await talk.answers();
    expect(answers).toEqual([expect.not.stringMatching(/^timeout$/)]);
  }
  for (const [index, traffic] of traffics.entries()) {
    const report = await traffic.stop();
    expect(report.failures).toEqual([]);
    expect(report).toMatchObject({ answered: report.opened, held: { opened: HELD, failed: 0 } });
    expect(report.answered).toBeGreaterThan((flows[index]!.connectionsPerSecond * seconds) / 4);
  }
}

/** A UDP client with one socket that asks all the time. */
class SteadyTalk implements AsyncDisposable {
  readonly #talk: UdpTalk;
  readonly #answers = new Set<string>();
  readonly #stop = new AbortController();
  readonly #work: Promise<void>;

  private constructor(talk: UdpTalk) {
    this.#talk = talk;
    this.#work = this.#run();
  }

  static async open(lab: Lab, from: string, target: TrafficTarget): Promise<SteadyTalk> {
    return new SteadyTalk(await UdpTalk.open(lab, from, target, TIMEOUT_MS));
  }

  /** Ends it; each different answer, among them `timeout`. */
  async answers(): Promise<string[]> {
    this.#stop.abort();
    await this.#work;
    return [...this.#answers];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.answers();
    this.#talk[Symbol.dispose]();
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      this.#answers.add(await this.#talk.who());
      await delay(100);
    }
  }
}
