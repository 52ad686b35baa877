/** What host-local gave before this daemon gave addresses: held until the pods that have them go. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { isObject } from '../config/reader.ts';
import type { Attachment } from '../ipam/attachment.ts';
import { adoptableLeases, HOST_LOCAL_DIRECTORY, readHostLocalLeases } from '../ipam/host-local.ts';
import { type AgentRequest, attachmentKey, CniError, CODE } from '../types.ts';
import type { AgentParts } from './parts.ts';

export class TakenOver {
  readonly #parts: Pick<AgentParts, 'store' | 'wiring' | 'log'>;
  /** Directories of networks, by path: read, or being read. */
  readonly #read = new Map<string, Promise<void>>();

  constructor(parts: Pick<AgentParts, 'store' | 'wiring' | 'log'>) {
    this.#parts = parts;
  }

  /**
   * The leases of the request's network are known from then on; they are read with its first request. Files of before a boot count too: a clock that was set since
   * makes a living pod's file look as old. @throws CniError 104 when they can't be read
   */
  async know({ config }: AgentRequest): Promise<void> {
    const network = String(config.name);
    const dataDir = isObject(config.ipam) && typeof config.ipam.dataDir === 'string' ? config.ipam.dataDir : '';
    for (const directory of new Set([dataDir || HOST_LOCAL_DIRECTORY, HOST_LOCAL_DIRECTORY])) {
      const path = join(directory, network);
      const reading = this.#read.get(path) ?? this.#adopt(directory, network);
      this.#read.set(path, reading);
      try {
        await reading;
      } catch (error) {
        this.#read.delete(path);
        throw new CniError(CODE.storage, `leases of host-local: ${error instanceof Error ? error.message : error}`);
      }
    }
  }

  /** The interface that the plugin before made goes with its attachment. @throws CniError */
  removeLink({ netns, containerID, ifname, config }: AgentRequest): void {
    const kept = this.#parts.store.get({ network: String(config.name), containerID, ifname });
    if (kept !== undefined && isTakenOver(kept) && netns !== '') this.#parts.wiring.removeInside(netns, ifname);
  }

  async #adopt(directory: string, network: string): Promise<void> {
    const { store, log } = this.#parts;
    let adopted = 0;
    for (const attachment of adoptableLeases(readHostLocalLeases(directory, network))) {
      if (store.get(attachment.id) !== undefined) continue;
      try {
        await store.adopt(attachment);
        adopted += 1;
      } catch (error) {
        if (!(error instanceof CniError) || error.code === CODE.storage) throw error;
        log.warn({ attachment: attachmentKey(attachment.id), err: error }, 'a lease of host-local can not be held');
      }
    }
    if (adopted > 0)
      log.info({ network, directory, adopted }, 'attachments of host-local are held until their pods go');
  }
}

export const isTakenOver = ({ config, leaseFiles = [] }: Attachment): boolean =>
  config === null && leaseFiles.length > 0;

/** host-local freed all of it meanwhile. */
export const isFreedElsewhere = (attachment: Attachment): boolean =>
  isTakenOver(attachment) && !attachment.leaseFiles!.some(file => existsSync(file));
