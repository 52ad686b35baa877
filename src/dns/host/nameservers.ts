import { readFile } from 'node:fs/promises';
import { PathWatch } from '../../config/path-watch.ts';
import type { Logger } from '../../log.ts';
import type { UpstreamServer } from '../settings.ts';
import { nameservers } from './resolv-conf.ts';

/** The nameservers of a resolv.conf, which changes with the machine's network. */
export class Nameservers implements Disposable {
  readonly #log: Logger;
  readonly #onChange: () => void;
  #followed: { readonly path: string; readonly watch: PathWatch } | undefined;
  #known: readonly UpstreamServer[] = [];

  /** @param onChange may be called when nothing has changed */
  constructor(log: Logger, onChange: () => void) {
    this.#log = log;
    this.#onChange = onChange;
  }

  /** Those that were read last where the file can't be read. The file is followed from now on, in place of another one. */
  async read(path: string): Promise<readonly UpstreamServer[]> {
    if (this.#followed?.path !== path) {
      this.forget();
      this.#followed = { path, watch: new PathWatch({ path, onEvent: this.#onChange, log: this.#log }) };
    }
    try {
      await this.#followed.watch.arm();
      this.#known = nameservers(await readFile(path, 'utf8'));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const known = this.#known.length === 0 ? 'other names are refused' : 'those known before are asked';
      this.#log.error({ err: error, path }, `no nameservers from ${path}: ${why}; ${known}`);
    }
    return this.#known;
  }

  /** Follows nothing any more. */
  forget(): void {
    this.#followed?.watch[Symbol.dispose]();
    this.#followed = undefined;
    this.#known = [];
  }

  [Symbol.dispose](): void {
    this.forget();
  }
}
