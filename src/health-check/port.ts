import { createServer, type Server, type Socket } from 'node:net';
import { listenOnce, reasonOf } from '../http/listen.ts';

const RETRY_MS = 5000;
/** A port that takes more has no load balancers' probes on it. */
const MAX_CONNECTIONS = 500;

export interface HealthPortOptions {
  readonly port: number;
  readonly onConnection: (socket: Socket) => void;
  /** The port can't be had on an address, for another reason than last time; it is tried again every 5 s. */
  readonly onFailure: (reason: string) => void;
  readonly onAcceptFailure: (error: Error) => void;
  /** It listens on all addresses, at last or again. */
  readonly onListening: () => void;
}

/** One TCP port on some addresses of this node. */
export class HealthPort {
  readonly #options: HealthPortOptions;
  readonly #servers = new Map<string, Server>();
  readonly #sockets = new Set<Socket>();
  #addresses: readonly string[] = [];
  #work: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #failure = '';

  constructor(options: HealthPortOptions) {
    this.#options = options;
  }

  /** Listens on exactly these addresses, soon. */
  serve(addresses: readonly string[]): void {
    this.#addresses = addresses;
    if (addresses.length === 0) this.#endConnections();
    this.#start();
  }

  /** Resolves when what was last asked for is done, or was tried. */
  async settled(): Promise<void> {
    while (this.#work !== undefined) await this.#work;
  }

  #start(): void {
    clearTimeout(this.#retry);
    this.#work ??= this.#follow();
  }

  /** One change at a time, until what is true is what was last asked for. */
  async #follow(): Promise<void> {
    let addresses: readonly string[];
    let failures: readonly string[];
    do {
      // What is asked for in one go is done in one go.
      await Promise.resolve();
      addresses = this.#addresses;
      this.#leaveOthers(addresses);
      failures = await this.#listenOn(addresses);
    } while (addresses !== this.#addresses);
    this.#work = undefined;
    if (failures.length > 0) this.#retry = setTimeout(() => this.#start(), RETRY_MS);
    this.#tell(failures.join('; '));
  }

  #tell(failure: string): void {
    if (failure === this.#failure) return;
    this.#failure = failure;
    if (failure !== '') this.#options.onFailure(failure);
    else if (this.#addresses.length > 0) this.#options.onListening();
  }

  #leaveOthers(addresses: readonly string[]): void {
    const gone = [...this.#servers].filter(([address]) => !addresses.includes(address));
    for (const [address, server] of gone) {
      this.#servers.delete(address);
      // The port is free at once; close() would also wait for the connections.
      server.close();
    }
  }

  async #listenOn(addresses: readonly string[]): Promise<readonly string[]> {
    const failures: string[] = [];
    for (const address of addresses) {
      if (this.#servers.has(address)) continue;
      const server = createServer({ allowHalfOpen: true, noDelay: true }, socket => this.#accept(socket));
      server.maxConnections = MAX_CONNECTIONS;
      // Two processes may have the port for a moment: so a hand-over leaves no gap. Another program's port stays its own, unless
      // that is of the same user and shares it in the same way.
      const where = { host: address, port: this.#options.port, ipv6Only: true, reusePort: true };
      const failure = await listenOnce(server, () => server.listen(where));
      if (failure !== undefined) {
        failures.push(`${address}: ${reasonOf(failure)}`);
        continue;
      }
      // From now on it is an accept that failed, for want of descriptors, and costs that one connection.
      server.on('error', error => this.#options.onAcceptFailure(error));
      this.#servers.set(address, server);
    }
    return failures;
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    this.#options.onConnection(socket);
  }

  /** Answers are written at once, so a connection that is open waits for its next request. */
  #endConnections(): void {
    for (const socket of this.#sockets) socket.destroySoon();
  }
}
