/** Calls to a process of ours in a network namespace, over its IPC channel, one answer for each. */
import { type ChildProcess, spawn } from 'node:child_process';

interface Request {
  readonly id: number;
  readonly method: string;
  readonly params: unknown;
}

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** What a process answers to; each function gets the call's params. */
export type Handlers = Readonly<Record<string, (params: never) => unknown>>;

/** Answers calls until the other side goes away; then the process ends. */
export function serveCalls(handlers: Handlers): void {
  const answer = async ({ id, method, params }: Request): Promise<Answer> => {
    try {
      const handler = handlers[method];
      if (handler === undefined) throw new TypeError(`no method ${method}`);
      return { id, value: await handler(params as never) };
    } catch (error) {
      return { id, error: error instanceof Error ? error.message : String(error) };
    }
  };
  process.on('message', (request: Request) => void answer(request).then(reply => process.send?.(reply)));
  process.on('disconnect', () => process.exit(0));
  process.send?.({ id: 0 });
}

/** A process in a namespace; disposal ends it. */
export class RemoteProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  readonly #ended: Promise<void>;
  #calls = 0;

  private constructor(child: ChildProcess, name: string) {
    this.#child = child;
    this.#name = name;
    child.on('message', (answer: Answer) => this.#settle(answer));
    this.#ended = new Promise(resolve => {
      child.on('error', error => this.#fail(error.message, resolve));
      child.on('exit', (code, signal) => this.#fail(`ended (${signal ?? code})`, resolve));
    });
  }

  /** Starts a file of ours with our Node; resolves when it answers. */
  static async start(netns: string, file: URL): Promise<RemoteProcess> {
    const command = ['netns', 'exec', netns, process.execPath, file.pathname];
    const child = spawn('ip', command, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    const remote = new RemoteProcess(child, `${file.pathname.replace(/^.*\//, '')} in ${netns}`);
    const ready = Promise.withResolvers<unknown>();
    remote.#waiting.set(0, ready);
    await ready.promise;
    return remote;
  }

  /** @throws Error with the other side's message when it failed, or when the process has ended */
  async call<T>(method: string, params?: unknown): Promise<T> {
    this.#calls += 1;
    const id = this.#calls;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(id, waiting);
    this.#child.send({ id, method, params }, error => {
      if (error !== null) this.#settle({ id, error: `${this.#name}: ${error.message}` });
    });
    return (await waiting.promise) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    await this.#ended;
  }

  #settle({ id, value, error }: Answer): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) waiting?.resolve(value);
    else waiting?.reject(new Error(error));
  }

  #fail(reason: string, resolve: () => void): void {
    for (const { reject } of this.#waiting.values()) reject(new Error(`${this.#name}: ${reason}`));
    this.#waiting.clear();
    resolve();
  }
}
