/** The agent's socket: one line of JSON in, one line out. */
import { chmodSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { isObject } from '../config/reader.ts';
import { AGENT_PROTOCOL, type AgentReply, type AgentRequest, CODE } from '../types.ts';
import type { AgentLog } from './parts.ts';

/** The plugin's own limit, and room for what it adds. */
const MOST_BYTES = 20 * 1024 * 1024;

export interface AgentServerOptions {
  readonly path: string;
  readonly handle: (request: AgentRequest, signal: AbortSignal) => Promise<AgentReply>;
  readonly log: AgentLog;
}

export class AgentServer {
  readonly #options: AgentServerOptions;
  #server: Server;
  /** Of the socket's file, `device:inode`; undefined: nobody listens. */
  #place: string | undefined;
  #isClosed = false;
  #repairing: Promise<void> = Promise.resolve();
  readonly #serving = new Set<Promise<void>>();
  readonly #idle = new Set<Socket>();

  constructor(options: AgentServerOptions) {
    this.#options = options;
    this.#server = this.#newServer();
  }

  #newServer(): Server {
    return createServer({ allowHalfOpen: true }, socket => this.#accept(socket));
  }

  /** For root alone. Rejects with the system's error. */
  async listen(): Promise<void> {
    const { path } = this.#options;
    rmSync(path, { force: true });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once('error', reject);
    this.#server.listen({ path, backlog: 511 }, resolve);
    await promise;
    chmodSync(path, 0o600);
    this.#server.off('error', reject);
    this.#place = placeOf(path);
  }

  /**
   * Listens anew when somebody removed the socket's file, or put another one there; who is connected is served. One call at a time. Rejects with the
   * system's error, and nobody listens until the next call.
   */
  async repair(): Promise<void> {
    if (this.#isClosed || (this.#place !== undefined && placeOf(this.#options.path) === this.#place)) return;
    this.#repairing = this.#listenAnew();
    await this.#repairing;
  }

  async #listenAnew(): Promise<void> {
    const { path, log } = this.#options;
    this.#place = undefined;
    // Closing removes what has the file's name: the new server comes after it.
    this.#server.close();
    this.#server = this.#newServer();
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    await this.listen();
    log.warn({ path }, "somebody removed the agent's socket: it is there again");
  }

  /** What was asked is answered; nothing more is taken. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#repairing.catch(() => undefined); // told by `repair`
    const closed = new Promise<void>(resolve => this.#server.close(() => resolve()));
    for (const socket of this.#idle) socket.destroy();
    while (this.#serving.size > 0) await Promise.all(this.#serving);
    await closed;
  }

  #accept(socket: Socket): void {
    this.#idle.add(socket);
    const gone = new AbortController();
    const chunks: Buffer[] = [];
    let bytes = 0;
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      this.#idle.delete(socket);
      gone.abort();
    });
    socket.on('end', () => {
      // The plugin ended: nobody reads an answer.
      if (this.#idle.has(socket)) socket.destroy();
      gone.abort();
    });
    socket.on('data', chunk => {
      if (!this.#idle.has(socket)) return;
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes > MOST_BYTES) socket.destroy();
      if (chunk.at(-1) !== 0x0a) return;
      this.#idle.delete(socket);
      const serving = this.#serve(socket, Buffer.concat(chunks).toString(), gone.signal);
      this.#serving.add(serving);
      void serving.finally(() => this.#serving.delete(serving));
    });
  }

  async #serve(socket: Socket, line: string, signal: AbortSignal): Promise<void> {
    const request = parseRequest(line);
    const reply: AgentReply =
      request === undefined
        ? {
            error: {
              code: CODE.tryAgain,
              msg: 'the plugin and the agent do not understand each other: are they of one version?',
            },
          }
        : await this.#options.handle(request, signal);
    const isRead = await send(socket, `${JSON.stringify({ protocol: AGENT_PROTOCOL, ...reply })}\n`, signal);
    socket.destroy();
    // The runtime doesn't know that it was made: its DEL may never come.
    if (isRead || request?.command !== 'ADD' || reply.error !== undefined) return;
    const undone = await this.#options.handle({ ...request, command: 'DEL' }, new AbortController().signal);
    const { containerID, ifname } = request;
    this.#options.log.warn(
      { containerID, ifname, error: undone.error },
      'the plugin ended before its answer: the ADD is undone',
    );
  }
}

function placeOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev}:${found.ino}`;
}

/** False when nobody was there to read it. */
function send(socket: Socket, line: string, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(false);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  socket.once('close', () => resolve(false));
  socket.end(line, () => resolve(true));
  return promise;
}

function parseRequest(line: string): AgentRequest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined; // no JSON: no request
  }
  if (!isObject(value) || value.protocol !== AGENT_PROTOCOL || !isObject(value.config) || !isObject(value.args))
    return undefined;
  const isKnown = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'].includes(String(value.command));
  const texts = [value.containerID, value.ifname, value.netns];
  return isKnown && texts.every(text => typeof text === 'string') ? (value as unknown as AgentRequest) : undefined;
}
