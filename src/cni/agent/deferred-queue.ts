/** Works off DELs that found no agent. */
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { idOf } from '../config/network.ts';
import { deferredFileName, readDeferred } from '../deferred.ts';
import type { AgentReply, AgentRequest } from '../types.ts';
import type { AgentLog } from './parts.ts';

export interface DeferredQueueOptions {
  readonly directory: string;
  readonly handle: (request: AgentRequest) => Promise<AgentReply>;
  readonly log: AgentLog;
}

/** Others in the directory are being written, or are no DELs. */
const DEFERRED = /^[0-9a-f]{64}\.json$/;

export class DeferredQueue {
  readonly #options: DeferredQueueOptions;
  /** Names of what stays for ever, in the log. */
  readonly #told = new Set<string>();

  constructor(options: DeferredQueueOptions) {
    this.#options = options;
  }

  /** All of them, or the one of an attachment that is about to come anew. A DEL that fails stays, and is tried again. */
  async workOff(before?: AgentRequest): Promise<void> {
    const names = before === undefined ? this.#names() : [deferredFileName(idOf(before))];
    await Promise.all(names.map(name => this.#workOffOne(name)));
  }

  #names(): readonly string[] {
    const names = orIfMissing(() => readdirSync(this.#options.directory)) ?? [];
    for (const name of names) if (name.endsWith('.json') && !DEFERRED.test(name)) this.#tellStranger(name);
    return names.filter(name => DEFERRED.test(name));
  }

  #tellStranger(name: string, error?: unknown): void {
    if (this.#told.has(name)) return;
    this.#told.add(name);
    const { directory, log } = this.#options;
    log.error(
      { path: join(directory, name), ...(error !== undefined && { err: error }) },
      'this is no deferred DEL that could be read: left alone',
    );
  }

  /** undefined where it is gone, or can't be read. */
  #read(name: string): string | undefined {
    try {
      return orIfMissing(() => readFileSync(join(this.#options.directory, name), 'utf8'));
    } catch (error) {
      this.#tellStranger(name, error);
      return undefined;
    }
  }

  async #workOffOne(name: string): Promise<void> {
    const { directory, handle, log } = this.#options;
    const path = join(directory, name);
    const text = this.#read(name);
    if (text === undefined) return;
    const request = readDeferred(text);
    if (request === undefined) log.error({ path }, 'this is no deferred DEL that could be read: removed');
    else {
      const { error, formerIpam } = await handle(request);
      if (error !== undefined) return;
      if (formerIpam !== undefined)
        log.warn(
          { request, formerIpam },
          'another IPAM plugin gave the addresses of a deferred DEL, and does not know that they are free',
        );
      log.info({ containerID: request.containerID, ifname: request.ifname }, 'a deferred DEL is done');
    }
    // Unless a newer one has come meanwhile, which is the same.
    rmSync(path, { force: true });
  }
}

function orIfMissing<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
