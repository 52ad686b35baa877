import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { type Clock, pause, systemClock } from './clock.ts';
import type { Log } from './log.ts';
import type { ManifestObject } from './manifest.ts';
import { type DirectoryContents, ManifestDirectory } from './manifest-directory.ts';
import type { Kind, ObjectByKind, Problem } from './objects.ts';
import type { Store } from './store.ts';

export interface FileSourceOptions {
  readonly directory: string;
  readonly store: Store;
  readonly log: Log;
  readonly clock?: Clock;
  readonly signal: AbortSignal;
}

/** The directory cannot be read. */
export class FileSourceError extends Error {
  override readonly name = 'FileSourceError';
  readonly directory: string;

  constructor(directory: string, cause: unknown) {
    super(`the manifest directory ${directory} cannot be read: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
    this.directory = directory;
  }
}

/** A running source. */
export type FileSource = AsyncDisposable;

const KINDS = [
  'Service',
  'EndpointSlice',
  'Node',
  'ServiceCIDR',
  'Namespace',
  'Pod',
] as const satisfies readonly Kind[];
/** A writer that writes on within this time is waited for: half a file may well be valid YAML. */
const QUIET_MS = 50;
/** ... but no longer than this. */
const LONGEST_WAIT_MS = 1000;
/** For what fs.watch doesn't tell: targets of symbolic links, network file systems, a directory that was replaced. */
const RESCAN_MS = 10_000;

/** Follows a directory: scans it after every change, and from time to time. */
class FileSourceLoop implements AsyncDisposable {
  readonly #options: FileSourceOptions;
  readonly #clock: Clock;
  readonly #manifests: ManifestDirectory;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #running: Promise<void> = Promise.resolve();
  #watcher: FSWatcher | undefined;
  #watchedIdentity = '';
  #lastError = '';
  #brokenFiles: readonly string[] = [];
  /** Ends the current wait; a change that comes during a scan makes the next wait end at once. */
  #wake: (() => void) | undefined;
  #isChanged = false;

  constructor(options: FileSourceOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#manifests = new ManifestDirectory(options.directory, options.log);
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  /** The first scan; then follows. */
  async start(): Promise<void> {
    const { store, directory } = this.#options;
    store.announce(KINDS);
    try {
      await this.#watchDirectory();
      this.#publish(await this.#manifests.scan());
    } catch (error) {
      this.#watcher?.close();
      throw new FileSourceError(directory, error);
    }
    for (const kind of KINDS) store.markSynced(kind);
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    try {
      while (!this.#signal.aborted) {
        await this.#change();
        if (this.#signal.aborted) return;
        await this.#rescan();
      }
    } finally {
      this.#watcher?.close();
    }
  }

  /** Resolves when something has changed and then nothing for a moment, or when it is time to look anyway. */
  async #change(): Promise<void> {
    if (!this.#isChanged) await this.#wait(RESCAN_MS);
    const end = this.#clock.now() + LONGEST_WAIT_MS;
    while (this.#isChanged && !this.#signal.aborted && this.#clock.now() < end) {
      this.#isChanged = false;
      await this.#wait(QUIET_MS);
    }
    this.#isChanged = false;
  }

  async #wait(ms: number): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await pause(this.#clock, ms, AbortSignal.any([this.#signal, woken.signal]));
    this.#wake = undefined;
  }

  async #rescan(): Promise<void> {
    const { log, directory } = this.#options;
    try {
      await this.#watchDirectory();
      this.#publish(await this.#manifests.scan());
      if (this.#lastError !== '') log.info({ directory }, `the manifest directory ${directory} can be read again`);
      this.#lastError = '';
    } catch (cause) {
      const error = new FileSourceError(directory, cause);
      if (error.message !== this.#lastError) log.error({ err: error }, `${error.message}; what is known stays`);
      this.#lastError = error.message;
    }
  }

  /** Watches the directory that has the name now: it may be another one than before. */
  async #watchDirectory(): Promise<void> {
    const { directory, log } = this.#options;
    const { dev, ino, birthtimeNs } = await stat(directory, { bigint: true });
    // An inode number alone may be taken again by the next directory of the name.
    const identity = `${dev} ${ino} ${birthtimeNs}`;
    if (identity === this.#watchedIdentity) return;
    this.#watcher?.close();
    this.#watchedIdentity = identity;
    const stopWatching = (error: unknown) => {
      const text = `changes in ${directory} are noticed late, every ${RESCAN_MS / 1000} s: `;
      log.warn({ directory, err: error }, text + (error instanceof Error ? error.message : String(error)));
    };
    try {
      this.#watcher = watch(directory, () => this.#noteChange());
      this.#watcher.on('error', stopWatching);
    } catch (error) {
      stopWatching(error);
    }
  }

  #noteChange(): void {
    this.#isChanged = true;
    this.#wake?.();
  }

  #publish(contents: DirectoryContents): void {
    const { store } = this.#options;
    for (const kind of KINDS) publishKind(store, kind, contents);
    const fixed = this.#brokenFiles.filter(file => !contents.brokenFiles.has(file));
    for (const file of fixed) store.reportProblems(file, []);
    for (const [file, problem] of contents.brokenFiles) store.reportProblems(file, [problem]);
    this.#brokenFiles = [...contents.brokenFiles.keys()];
  }
}

function publishKind<K extends Kind>(store: Store, kind: K, { objects, duplicates }: DirectoryContents): void {
  const ofKind = objects.filter((object): object is Extract<ManifestObject, { kind: K }> => object.kind === kind);
  const trimmed = ofKind.flatMap(({ trimmed: { object } }) =>
    object === undefined ? [] : [object as ObjectByKind[K]],
  );
  const problems: Problem[] = ofKind.flatMap(object => object.trimmed.problems);
  problems.push(...duplicates.filter(({ object }) => object.startsWith(`${kind} `)));
  store.replace(kind, trimmed, { problems });
}

/**
 * Reads the manifests (*.yaml, *.yml, *.json) of a directory into the store and follows their changes until the signal is
 * aborted. A file that makes no sense is a problem of the store, and its last good state stays. Throws a FileSourceError
 * when the directory cannot be read at the start.
 */
export async function startFileSource(options: FileSourceOptions): Promise<FileSource> {
  const loop = new FileSourceLoop(options);
  await loop.start();
  return loop;
}
