import { TcpServer } from '../server/tcp.ts';
import { type Client, noSockets, type Respond, UdpServer } from '../server/udp.ts';
import type { ListenFailure, SocketAddress } from './messages.ts';

export type Answer = (message: Buffer, client: Client, isTcp: boolean) => ReturnType<Respond>;

/** UDP and TCP at each of some addresses. */
export class Listeners {
  readonly counts = noSockets();
  readonly #answer: Answer;
  readonly #open = new Map<string, AsyncDisposableStack>();
  #work: Promise<unknown> = Promise.resolve();

  constructor(answer: Answer) {
    this.#answer = answer;
  }

  /** Listens at exactly these, but for those that it returns. The others close when what was asked there is answered. */
  set(addresses: readonly SocketAddress[]): Promise<readonly ListenFailure[]> {
    // One at a time: what is being opened would be missed by the next one.
    const work = this.#work.then(() => this.#set(addresses));
    this.#work = work.catch(() => undefined); // told to whoever asked
    return work;
  }

  async #set(addresses: readonly SocketAddress[]): Promise<readonly ListenFailure[]> {
    const wanted = new Map(addresses.map(where => [`${where.address} ${where.port}`, where]));
    const failures: ListenFailure[] = [];
    for (const [key, where] of wanted) {
      if (this.#open.has(key)) continue;
      try {
        this.#open.set(key, await this.#listen(where));
      } catch (error) {
        failures.push({ ...where, message: error instanceof Error ? error.message : String(error) });
      }
    }
    const gone = [...this.#open].filter(([key]) => !wanted.has(key));
    for (const [key] of gone) this.#open.delete(key);
    await Promise.all(gone.map(([, servers]) => servers.disposeAsync()));
    return failures;
  }

  /** Both or neither: a client that is told to ask again by TCP must find it. */
  async #listen({ address, port }: SocketAddress): Promise<AsyncDisposableStack> {
    await using servers = new AsyncDisposableStack();
    const respond =
      (isTcp: boolean): Respond =>
      (message, client) =>
        this.#answer(message, client, isTcp);
    // Other workers, and the process that follows this one, share the port.
    const shared = { counts: this.counts, sharesPort: true };
    servers.use(await UdpServer.open({ address, port, respond: respond(false), ...shared }));
    servers.use(await TcpServer.open({ address, port, respond: respond(true), ...shared }));
    return servers.move();
  }
}
