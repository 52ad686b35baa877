import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { NodePortAddresses } from '../backends/node-options.ts';
import { changedServices, type HealthCheck, healthCheckOf } from '../endpoints/health-checks.ts';
import type { Model } from '../endpoints/types.ts';
import { cidrContains, parseCIDR } from '../net/cidr.ts';
import type { Programmed, SyncFollower } from '../sync-follower.ts';
import type { IPFamily } from '../watch/objects.ts';
import { HealthChecks, type PortContest } from './checks.ts';
import { HealthPort } from './port.ts';
import { healthAnswer } from './reply.ts';

export interface ServiceHealthOptions {
  readonly family: IPFamily;
  readonly isProxyHealthy: () => boolean;
  /** A Service (namespace/name) whose port can't be had, and why; once until that changes. */
  readonly onFailure: (service: string, port: number, reason: string) => void;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  /** This node's addresses, canonical. */
  readonly nodeAddresses: () => readonly string[];
  /** Calls back after each change of them. */
  readonly watchAddresses: (onChange: () => void) => Promise<Disposable>;
}

/** Load balancers probe every few seconds: Node's 5 s would close the connection just when a probe comes. */
const KEEP_ALIVE_MS = 75_000;
/** A request is a few words. */
const IDLE_MS = 10_000;
/** How long a process that hands over still answers, while the next one programs the node. */
const LINGER_MS = 5000;

/**
 * The health check node ports of one IP family, as kube-proxy has them: each is answered on every address that takes NodePorts.
 * What it is told counts as programmed. It listens between `open` and `close`.
 */
export class ServiceHealthServer implements SyncFollower, AsyncDisposable {
  readonly #options: ServiceHealthOptions;
  readonly #checks = new HealthChecks();
  readonly #ports = new Map<number, HealthPort>();
  /** Never listens itself: one for thousands of ports. */
  readonly #http: Server;
  readonly #portOf = new WeakMap<Socket, number>();
  #served: NodePortAddresses = 'all';
  #addresses: readonly string[] = [];
  #isOpen = false;
  #linger: NodeJS.Timeout | undefined;
  /** Services that changed in Models that may not be programmed yet. */
  #changed = new Set<string>();
  #watch: Promise<Disposable> | undefined;

  constructor(options: ServiceHealthOptions) {
    this.#options = options;
    this.#http = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
      const owner = this.#checks.ownerOf(this.#portOf.get(request.socket) ?? 0);
      if (owner === undefined) return void response.writeHead(404, { Connection: 'close' }).end();
      const { status, headers, body } = healthAnswer({ ...owner, isProxyHealthy: options.isProxyHealthy() });
      response.writeHead(status, headers).end(body);
    });
    this.#http.timeout = IDLE_MS;
  }

  pulled(model: Model): void {
    for (const service of changedServices(model)) this.#changed.add(service);
  }

  /** What the kernel has by now is what is answered; the first sync of a tenure opens the ports. */
  synced({ model, nodePortAddresses }: Programmed): void {
    const services = this.#changed;
    this.#changed = new Set();
    const checks = new Map([...services].map(service => [service, healthCheckOf(model, service)] as const));
    this.#release(new Map([...checks].map(([service, check]) => [service, check?.port])));
    for (const [service, check] of checks) this.update(service, check);
    this.open(nodePortAddresses);
  }

  /** Another process takes the ports over: this one answers until that one surely does, with what it knew last. */
  paused(): void {
    clearTimeout(this.#linger);
    if (this.#isOpen) this.#linger = setTimeout(() => this.#close(), LINGER_MS);
  }

  /** What a Service has now: its port, and the count behind it. */
  update(service: string, check: HealthCheck | undefined): void {
    this.#want(service, check);
    if (check !== undefined) this.#checks.count(service, check.localEndpoints);
  }

  /** All Services with a health check, by namespace/name, and their ports; a new or other port begins with no endpoints. */
  syncServices(ports: ReadonlyMap<string, number>): void {
    this.#release(new Map([...this.#checks.services].map(service => [service, ports.get(service)])));
    for (const [service, port] of ports) this.#want(service, { port, creationTimestamp: '' });
  }

  /** How many ready endpoints each Service has on this node: all of them, none where it isn't named. */
  syncEndpoints(counts: ReadonlyMap<string, number>): void {
    for (const service of [...this.#checks.services]) this.#checks.count(service, counts.get(service) ?? 0);
  }

  /** Begins to listen; also ends the wait of `paused`. */
  open(served: NodePortAddresses): void {
    clearTimeout(this.#linger);
    const isSame = this.#isOpen && String(served) === String(this.#served);
    if (isSame) return;
    this.#isOpen = true;
    this.#served = served;
    this.#followAddresses();
    this.#serveAll();
  }

  /** Resolves when every port listens, or was tried. */
  async settled(): Promise<void> {
    for (const port of this.#ports.values()) await port.settled();
  }

  /** Frees all ports. */
  async [Symbol.asyncDispose](): Promise<void> {
    const ports = [...this.#ports.values()];
    this.#close();
    await Promise.all(ports.map(port => port.settled()));
  }

  #close(): void {
    clearTimeout(this.#linger);
    this.#isOpen = false;
    const watch = this.#watch;
    this.#watch = undefined;
    watch?.then(
      held => held[Symbol.dispose](),
      () => undefined, // said when it began
    );
    this.#serveAll();
    this.#ports.clear();
  }

  /** Ports that these Services have no more go first: another of them may have one of those now. */
  #release(ports: ReadonlyMap<string, number | undefined>): void {
    for (const [service, port] of ports) if (this.#checks.portOf(service) !== port) this.#want(service, undefined);
  }

  #want(service: string, wanted: Pick<HealthCheck, 'port' | 'creationTimestamp'> | undefined): void {
    const { touched, contests } = this.#checks.want(service, wanted);
    for (const port of touched) this.#serve(port);
    for (const contest of contests) this.#refuse(contest);
  }

  #serve(port: number): void {
    const isWanted = this.#isOpen && this.#checks.ownerOf(port) !== undefined;
    const listener = this.#ports.get(port) ?? (isWanted ? this.#newPort(port) : undefined);
    listener?.serve(isWanted ? this.#addresses : []);
    if (!isWanted) this.#ports.delete(port);
  }

  #serveAll(): void {
    this.#addresses = this.#isOpen ? this.#servedAddresses() : [];
    for (const port of new Set([...this.#ports.keys(), ...this.#checks.ports])) this.#serve(port);
  }

  #newPort(port: number): HealthPort {
    const { log } = this.#options;
    const fields = { port };
    const owner = () => this.#checks.ownerOf(port)?.service ?? '';
    const listener = new HealthPort({
      port,
      onConnection: socket => {
        this.#portOf.set(socket, port);
        this.#http.emit('connection', socket);
      },
      onFailure: reason => this.#options.onFailure(owner(), port, reason),
      onAcceptFailure: err => log.warn({ ...fields, err }, `health check node port ${port}: a connection was refused`),
      onListening: () => log.info({ ...fields, service: owner() }, `health check node port ${port} listens after all`),
    });
    this.#ports.set(port, listener);
    return listener;
  }

  #refuse({ port, owner, loser }: PortContest): void {
    const reason = `the port is that of ${owner}, which is older`;
    this.#options.onFailure(loser, port, reason);
  }

  #servedAddresses(): readonly string[] {
    const { family, nodeAddresses } = this.#options;
    if (this.#served === 'all') return [family === 'IPv6' ? '::' : '0.0.0.0'];
    const ranges = this.#served.flatMap(cidr => parseCIDR(cidr) ?? []);
    const addresses = nodeAddresses().filter(ip => ranges.some(range => cidrContains(range, ip)));
    return [...new Set(addresses)].toSorted();
  }

  /** Only of single addresses it matters which the node has. */
  #followAddresses(): void {
    const { watchAddresses, log } = this.#options;
    if (this.#served === 'all' || this.#watch !== undefined) return;
    const follow = () => {
      const next = this.#isOpen ? this.#servedAddresses() : [];
      if (String(next) !== String(this.#addresses)) this.#serveAll();
    };
    this.#watch = watchAddresses(follow);
    this.#watch.then(follow, (err: unknown) => {
      log.warn({ err }, "changes of this node's addresses are not seen: health check node ports stay where they are");
    });
  }
}
