import { type Clock, pause, systemClock } from '../watch/clock.ts';
import type { Log } from '../watch/log.ts';
import { type Difference, differencesOf, differenceText } from './differences.ts';
import { ConfigurationError } from './error.ts';
import { type LoadedConfiguration, parseConfiguration, readFollowedText } from './load.ts';
import { PathWatch } from './path-watch.ts';

/** A burst of events is over after so much quiet: an editor's two writes, the kubelet's symlinks. */
const QUIET_MS = 50;
/** The longest wait for quiet. */
const LONGEST_WAIT_MS = 1000;
/** How often the file is read anyway: some file systems have no events (NFS, FUSE). */
const POLL_MS = 30_000;
/** A file that cannot be read or is empty may be about to be replaced or written; after so long it is worth a line. */
const GRACE_MS = 2000;

export interface ConfigurationWatchOptions {
  readonly path: string;
  /** What the daemon runs with now. */
  readonly current: LoadedConfiguration;
  /** How the file is read; not `parseConfiguration` when flags of the command line have a say in it. */
  readonly parse?: (text: string, source: string) => LoadedConfiguration;
  /** Called with what the file holds from now on, one call after the other; what it throws is logged. */
  readonly onChange: (next: LoadedConfiguration, differences: readonly Difference[]) => void | Promise<void>;
  readonly log: Log;
  readonly clock?: Clock;
  readonly signal: AbortSignal;
}

/**
 * Follows a configuration file until disposed of or aborted: in-place writes, renames and swaps of the symlinks on its way. Only
 * its content counts. A file that is wrong or cannot be read is refused with its errors in the log, and what was read last stays.
 */
export async function watchConfiguration(options: ConfigurationWatchOptions): Promise<AsyncDisposable> {
  const loop = new ConfigurationWatch(options);
  await loop.start();
  return loop;
}

class ConfigurationWatch implements AsyncDisposable {
  readonly #options: ConfigurationWatchOptions;
  readonly #clock: Clock;
  readonly #path: PathWatch;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #current: LoadedConfiguration;
  /** The text that was read last, valid or not. */
  #text: string | undefined;
  #isRefused = false;
  /** Since when the file cannot be read, or is empty. */
  #unreadableSinceMs: number | undefined;
  /** Why the file could not be read, as logged. */
  #unreadable = '';
  #isNoted = false;
  #wake: (() => void) | undefined;
  #running: Promise<void> | undefined;

  constructor(options: ConfigurationWatchOptions) {
    this.#options = options;
    this.#current = options.current;
    this.#clock = options.clock ?? systemClock;
    this.#path = new PathWatch({ path: options.path, onEvent: () => this.#note(), log: options.log });
    this.#signal = AbortSignal.any([options.signal, this.#stop.signal]);
  }

  /** Looks once, since the file may have changed after it was read for `current`; then follows. */
  async start(): Promise<void> {
    await this.#look();
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    using _ = this.#path;
    while (!this.#signal.aborted) {
      await this.#event();
      if (!this.#signal.aborted) await this.#look();
    }
  }

  /** Resolves when something has happened and then nothing for a moment, or when it is time to look anyway. */
  async #event(): Promise<void> {
    const isInGrace = this.#unreadableSinceMs !== undefined && this.#unreadable === '';
    if (!this.#isNoted) await this.#wait(isInGrace ? GRACE_MS : POLL_MS);
    const end = this.#clock.now() + LONGEST_WAIT_MS;
    while (this.#isNoted && !this.#signal.aborted && this.#clock.now() < end) {
      this.#isNoted = false;
      await this.#wait(QUIET_MS);
    }
    this.#isNoted = false;
  }

  async #wait(ms: number): Promise<void> {
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await pause(this.#clock, ms, AbortSignal.any([this.#signal, woken.signal]));
    this.#wake = undefined;
  }

  #note(): void {
    this.#isNoted = true;
    this.#wake?.();
  }

  async #look(): Promise<void> {
    const { path, log } = this.#options;
    await this.#path.arm();
    let text: string;
    try {
      text = await readFollowedText(path);
      if (text.trim() === '') throw new ConfigurationError(path, [{ path: '', message: 'is empty' }]);
    } catch (error) {
      this.#noteUnreadable(error);
      return;
    }
    if (this.#unreadable !== '') log.info({ path }, `${path} can be read again`);
    this.#unreadable = '';
    this.#unreadableSinceMs = undefined;
    if (text === this.#text) return;
    this.#text = text;
    await this.#take(text);
  }

  #noteUnreadable(error: unknown): void {
    const { path, log } = this.#options;
    const message = error instanceof Error ? error.message : String(error);
    this.#unreadableSinceMs ??= this.#clock.now();
    if (this.#unreadable === '' && this.#clock.now() < this.#unreadableSinceMs + GRACE_MS) return;
    if (message !== this.#unreadable) log.error({ path, err: error }, `${message}; the configuration stays as it is`);
    this.#unreadable = message;
  }

  async #take(text: string): Promise<void> {
    const { path, log, parse = parseConfiguration } = this.#options;
    let next: LoadedConfiguration;
    try {
      next = parse(text, path);
    } catch (error) {
      this.#isRefused = true;
      refuse(path, error, log);
      return;
    }
    const before = this.#current;
    const differences = differencesOf(before.fields, next.fields);
    this.#current = next;
    for (const warning of next.warnings.filter(line => !before.warnings.includes(line))) log.warn({ path }, warning);
    if (differences.length === 0) {
      if (this.#isRefused) log.info({ path }, `${path} is valid again; nothing differs`);
    } else {
      log.info({ path, differences }, `${path} changed: ${differences.map(differenceText).join(', ')}`);
    }
    this.#isRefused = false;
    if (differences.length > 0) await this.#tell(next, differences);
  }

  async #tell(next: LoadedConfiguration, differences: readonly Difference[]): Promise<void> {
    const { path, log, onChange } = this.#options;
    try {
      await onChange(next, differences);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      log.error({ path, err: error }, `the change of ${path} could not be put into effect wholly: ${message}`);
    }
  }
}

function refuse(path: string, error: unknown, log: Log): void {
  const message = error instanceof Error ? error.message : String(error);
  const problems = message.split('\n').map(line => line.replace(`${path}: `, ''));
  log.error({ path, err: error }, `${path} is refused, the configuration stays as it is: ${problems.join('; ')}`);
}
