/** Where cases are played with packets: a network, the product in it, and sockets on all sides. */
import type { NodeConfig, SourceType, Step } from '../packetflow.ts';
import type { CaseAddresses } from './case-addresses.ts';
import { type LinkPrefixes, Network } from './network.ts';
import type { StartParams, StepParams } from './program.ts';
import { RemoteProcess } from './rpc.ts';
import type { Arrival, Attempt, AttemptParams, ListenParams } from './sockets.ts';

const PROGRAM = new URL('./program-main.ts', import.meta.url);
const SOCKETS = new URL('./sockets-main.ts', import.meta.url);

/** Where the node's sockets listen for what shows that others are heard at all: see `fence`. */
const FENCE_PORT = 7;

type Place = 'node' | 'pods' | 'outside';
const PLACES = ['node', 'pods', 'outside'] as const;

export class Stage implements AsyncDisposable {
  readonly network: Network;
  readonly #program: RemoteProcess;
  readonly #sockets: Readonly<Record<Place, RemoteProcess>>;

  private constructor(network: Network, program: RemoteProcess, sockets: Readonly<Record<Place, RemoteProcess>>) {
    this.network = network;
    this.#program = program;
    this.#sockets = sockets;
  }

  /** `name` is for the namespaces and must be nobody else's. */
  static async create(name: string, prefixes: LinkPrefixes): Promise<Stage> {
    await using stack = new AsyncDisposableStack();
    const network = stack.use(await Network.create(name, prefixes));
    const start = async (netns: string, file: URL) => stack.use(await RemoteProcess.start(netns, file));
    const [program, node, pods, outside] = await Promise.all([
      start(network.node, PROGRAM),
      start(network.node, SOCKETS),
      start(network.pods, SOCKETS),
      start(network.outside, SOCKETS),
    ]);
    stack.move();
    return new Stage(network, program, { node, pods, outside });
  }

  /** Sets the scene of a case: the node's links and addresses, routes to its pods, listeners everywhere. */
  async prepare(node: NodeConfig, addresses: CaseAddresses): Promise<void> {
    const { network } = this;
    await network.become(node, addresses.nodeIPs);
    await network.routePods(addresses.pods);
    const tcp = [...new Set([...addresses.tcpPorts, FENCE_PORT])];
    await Promise.all(
      PLACES.map(place => {
        const params: ListenParams = { place, tcp, udp: addresses.udp[place] };
        return this.#sockets[place].call('listen', params);
      }),
    );
  }

  /** Starts the product on a kernel that has nothing, and waits until it has programmed everything. */
  async startProgram(params: StartParams): Promise<void> {
    await this.#program.call('stop');
    await this.network.forget();
    await this.#program.call('start', params);
  }

  async takeStep({ delete: gone = [], apply = [] }: Pick<Step, 'delete' | 'apply'>): Promise<void> {
    const params: StepParams = { delete: gone, apply };
    await this.#program.call('step', params);
  }

  /** Our objects as the kernel has them. */
  contents(): Promise<readonly string[]> {
    return this.#program.call('contents');
  }

  async forgetClients(): Promise<void> {
    await this.#program.call('forgetClients');
  }

  attempt(from: SourceType, params: AttemptParams): Promise<readonly Attempt[]> {
    return this.#sockets[placeOf(from)].call('attempt', params);
  }

  /** What arrived anywhere and may not have been answered, since the last time. */
  async arrivals(): Promise<readonly Arrival[]> {
    const all = await Promise.all(PLACES.map(place => this.#sockets[place].call<readonly Arrival[]>('arrivals')));
    return all.flat();
  }

  /** A connection that nobody stops: once it is answered, whatever was sent before it has been dealt with, however busy the machine is. */
  async fence(from: SourceType, params: AttemptParams): Promise<void> {
    const isIPv6 = params.source.includes(':');
    const side = placeOf(from) === 'pods' ? 'pods' : 'outside';
    const destination = this.network.nodeAddress(side, isIPv6);
    // From the node itself, loopback can't be the source of a packet to another address.
    const source = placeOf(from) === 'node' ? destination : params.source;
    const fence = { protocol: 'TCP', source, destination, port: FENCE_PORT, count: 1, timeoutMs: 10_000 } as const;
    const [answer] = await this.attempt(from, fence);
    if (answer?.kind !== 'answered') throw new Error(`${from} ${source} cannot reach the node at all: ${answer?.kind}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const processes = [this.#program, ...Object.values(this.#sockets)];
    await Promise.all(processes.map(process => process[Symbol.asyncDispose]()));
    await this.network[Symbol.asyncDispose]();
  }
}

function placeOf(from: SourceType): Place {
  if (from === 'pod') return 'pods';
  return from === 'external' ? 'outside' : 'node';
}
