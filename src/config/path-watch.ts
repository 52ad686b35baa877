import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Log } from '../watch/log.ts';
import { pathSteps } from './path-steps.ts';

interface WatchedDirectory {
  readonly watcher: FSWatcher;
  /** Another directory may have the name later. */
  readonly identity: string;
  names: ReadonlySet<string>;
}

export interface PathWatchOptions {
  readonly path: string;
  /** Called for every event that may have changed what the path holds, and for some that have not. */
  readonly onEvent: () => void;
  readonly log: Log;
}

/** Events of every directory entry on the way to a file (see `pathSteps`). What cannot be watched is said once. */
export class PathWatch implements Disposable {
  readonly #options: PathWatchOptions;
  readonly #watched = new Map<string, WatchedDirectory>();
  readonly #complaints = new Set<string>();

  constructor(options: PathWatchOptions) {
    this.#options = options;
  }

  /** Watches what is on the way now. To be called before every read, since the way may have changed. */
  async arm(): Promise<void> {
    const namesByDirectory = new Map<string, Set<string>>();
    for (const { directory, name } of await pathSteps(this.#options.path)) {
      const names = namesByDirectory.get(directory) ?? new Set();
      namesByDirectory.set(directory, names.add(name));
    }
    for (const [directory, { watcher }] of this.#watched) {
      if (namesByDirectory.has(directory)) continue;
      watcher.close();
      this.#watched.delete(directory);
    }
    for (const [directory, names] of namesByDirectory) await this.#watch(directory, names);
  }

  [Symbol.dispose](): void {
    for (const { watcher } of this.#watched.values()) watcher.close();
    this.#watched.clear();
  }

  async #watch(directory: string, names: ReadonlySet<string>): Promise<void> {
    const known = this.#watched.get(directory);
    const identity = await identityOf(directory);
    if (known !== undefined && known.identity === identity) {
      known.names = names;
      return;
    }
    known?.watcher.close();
    this.#watched.delete(directory);
    if (identity === undefined) return; // Its own entry is a step, and tells when it comes.
    try {
      const watcher = watch(directory, (_, name) => this.#note(directory, name));
      watcher.on('error', error => this.#complain(directory, error));
      this.#watched.set(directory, { watcher, identity, names });
    } catch (error) {
      this.#complain(directory, error);
    }
  }

  /** An event without a name says that some were lost. */
  #note(directory: string, name: string | null): void {
    if (name === null || this.#watched.get(directory)?.names.has(name)) this.#options.onEvent();
  }

  #complain(directory: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const line = `changes of ${this.#options.path} may be noticed late: ${directory} cannot be watched: ${reason}`;
    if (this.#complaints.has(line)) return;
    this.#complaints.add(line);
    this.#options.log.warn({ directory, err: error }, line);
  }
}

/** Which directory has this name; an inode number alone may be taken again by the next one. Undefined when there is none. */
async function identityOf(directory: string): Promise<string | undefined> {
  try {
    const { dev, ino, birthtimeNs } = await stat(directory, { bigint: true });
    return `${dev} ${ino} ${birthtimeNs}`;
  } catch {
    return undefined;
  }
}
