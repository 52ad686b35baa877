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
  /** What was last said to be wrong; '' = nothing. */
  #complaint = '';

  /** @param onChange may be called when nothing has changed */
  constructor(log: Logger, onChange: () => void) {
    this.#log = log;
    this.#onChange = onChange;
  }

  /** Those that were read last where the file can't be read, or names none: it may be being written. The file is followed from now on, in place of another one. */
  async read(path: string): Promise<readonly UpstreamServer[]> {
    if (this.#followed?.path !== path) {
      this.forget();
      this.#followed = { path, watch: new PathWatch({ path, onEvent: this.#onChange, log: this.#log }) };
    }
    try {
      await this.#followed.watch.arm();
      const found = nameservers(await readFile(path, 'utf8'));
      if (found.length > 0) this.#known = found;
      this.#complain(found.length > 0 ? '' : this.#without(path, 'it names none that is an address'));
    } catch (error) {
      this.#complain(this.#without(path, error instanceof Error ? error.message : String(error)), error);
    }
    return this.#known;
  }

  #without(path: string, why: string): string {
    const known = this.#known.length === 0 ? 'other names are refused' : 'those known before are asked';
    return `no nameservers from ${path}: ${why}; ${known}`;
  }

  /** Once for each thing that is wrong: the file is read again and again. */
  #complain(complaint: string, error?: unknown): void {
    const path = this.#followed?.path;
    if (complaint !== '' && complaint !== this.#complaint) this.#log.error({ err: error, path }, complaint);
    this.#complaint = complaint;
  }

  /** Follows nothing any more. */
  forget(): void {
    this.#followed?.watch[Symbol.dispose]();
    this.#followed = undefined;
    this.#known = [];
    this.#complaint = '';
  }

  [Symbol.dispose](): void {
    this.forget();
  }
}
