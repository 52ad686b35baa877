/**
 * The attachments of this node, on disk. Everything is answered from memory; the disk is there for the next agent. All changes of
 * one turn of the event loop are one transaction, and a promise of a change resolves when that has been written. A disk that
 * refuses undoes the reservations, never a release: its row goes when the disk takes writes again, and until then it does no harm,
 * because the row's namespace is found dead at the next start.
 */
import { rmSync } from 'node:fs';
import type { IPFamily } from '../../net/ip.ts';
import type { RangeSet } from '../config/ranges.ts';
import { type AttachmentId, attachmentKey, CniError, CODE, type HostPort } from '../types.ts';
import type { Attachment } from './attachment.ts';
import { AttachmentBook, type BookTable, type ReadyPatch, type Reservation, type Rest, type Undoable } from './book.ts';
import { type MovedAside, openFile } from './database-file.ts';
import { BusyError, CorruptError, type Journal, type RowChange } from './journal.ts';
import { type BadRow, bootRow, fill, type Loaded, load } from './loading.ts';

export interface StoreOptions {
  /** Made when it is missing. */
  readonly directory: string;
  /** See boot.ts. */
  readonly bootId: string;
  readonly now: () => number;
  /** Milliseconds of the epoch, for names of files. */
  readonly wallClock?: () => number;
  readonly coolDownMs?: number;
  /** A file was opened: at the start, after a disk that couldn't be used, or anew for one that was damaged or removed. */
  readonly onOpen: (outcome: OpenOutcome) => void;
}

export interface OpenOutcome {
  /** `rewritten`: a new file was written from memory, which is whole. */
  readonly kind: Loaded['kind'] | 'rewritten';
  /** Records were lost: the kernel knows them. */
  readonly movedAside?: MovedAside;
  readonly badRows: readonly BadRow[];
  readonly dropped: readonly Attachment[];
  /** Left by an agent that died while it wired them. */
  readonly intents: readonly Attachment[];
}

interface Waiting {
  readonly done: () => void;
  readonly failed: (error: CniError) => void;
}

/** About an attachment's row, so that a disk that has room for it has room for the next one. */
const PROBE: RowChange = { table: 'about', key: ['probe'], value: ' '.repeat(8192) };

/** With more rows to bring up to date, after a long time without a disk, all are written anew. */
const MOST_STALE = 20_000;

export class AttachmentStore implements Disposable {
  readonly #options: StoreOptions;
  readonly #book: AttachmentBook;
  readonly #stale = new Map<string, { readonly table: BookTable; readonly key: readonly string[] }>();
  /** Released before the file could be read. */
  readonly #releasedUnread = new Map<string, AttachmentId>();
  #waiting: Waiting[] = [];
  #journal: Journal | undefined;
  /** From then on memory knows better than any file. */
  #isLoaded = false;
  #problem: string | undefined;

  private constructor(options: StoreOptions) {
    this.#options = options;
    const { now, coolDownMs } = options;
    const touch = (table: BookTable, key: readonly string[]) => this.#touch(table, key);
    this.#book = new AttachmentBook({ now, touch, ...(coolDownMs === undefined ? {} : { coolDownMs }) });
  }

  /** A disk that can't be used is no error here but the store's `problem`. @throws CniError (11) while another process has the file */
  static open(options: StoreOptions): AttachmentStore {
    const store = new AttachmentStore(options);
    const failure = store.#write();
    if (failure?.code === CODE.tryAgain) throw failure;
    return store;
  }

  /** Why nothing can be reserved, for STATUS; undefined when all is well. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** False until a file could be read: which attachments there are isn't known. */
  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** Tries the disk again when there is a problem; the problem that is left. Writes nothing when there is none. */
  recover(): string | undefined {
    if (this.#problem !== undefined) this.#write([PROBE]);
    return this.#problem;
  }

  /** Addresses and ports are held at once; resolves when the intent is written. Rejects with a CniError (100, 101, 102, 104, 106). */
  reserve(reservation: Reservation): Promise<Attachment> {
    return this.#change(() => this.#book.reserve(reservation));
  }

  /** What is so already, from the kernel or host-local's leases. Rejects with a CniError (101, 104, 106). */
  adopt(attachment: Attachment): Promise<Attachment> {
    return this.#change(() => this.#book.adopt(attachment));
  }

  /** The attachment is wired. Rejects with a CniError (3, 104); then it is an intent as before. */
  ready(id: AttachmentId, patch: ReadyPatch = {}): Promise<Attachment> {
    return this.#change(() => this.#book.ready(id, patch));
  }

  /** Its addresses rest, its ports are free at once. What it was; undefined when there was none. */
  release(id: AttachmentId): Promise<Attachment | undefined> {
    if (!this.#isLoaded && this.#write() !== undefined) this.#releasedUnread.set(attachmentKey(id), id);
    const released = this.#book.release(id);
    if (released === undefined) return Promise.resolve(undefined);
    const { promise, resolve, reject } = Promise.withResolvers<Attachment>();
    const done = () => {
      const failure = removeFiles(released);
      if (failure === undefined) resolve(released);
      else reject(failure);
    };
    this.#wait({ done, failed: done });
    return promise;
  }

  get(id: AttachmentId): Attachment | undefined {
    return this.#book.get(id);
  }

  all(): readonly Attachment[] {
    return [...this.#book.values()];
  }

  byNetwork(network: string): readonly Attachment[] {
    return this.all().filter(({ id }) => id.network === network);
  }

  get size(): number {
    return this.#book.size;
  }

  holderOf(network: string, ip: string): Attachment | undefined {
    return this.#book.holderOf(network, ip);
  }

  holderOfPort(port: HostPort, families: ReadonlySet<IPFamily>): Attachment | undefined {
    return this.#book.holderOfPort(port, families);
  }

  hasAddresses(network: string, sets: readonly RangeSet[], isOfNode = false): boolean {
    return this.#book.hasAddresses(network, sets, isOfNode);
  }

  rests(): readonly Rest[] {
    return [...this.#book.rests()];
  }

  /** Whether it rested; it can be given at once now. */
  endRest(network: string, ip: string): boolean {
    const didRest = this.#book.endRest(network, ip);
    if (didRest) this.#wait({ done: nothing, failed: nothing });
    return didRest;
  }

  /** Writes what is left to write. */
  [Symbol.dispose](): void {
    this.#commit();
    if (this.#stale.size > 0) this.#write();
    this.#journal?.[Symbol.dispose]();
    this.#journal = undefined;
  }

  async #change(step: () => Undoable): Promise<Attachment> {
    if (!this.#isLoaded) {
      const failure = this.#write();
      if (failure !== undefined) throw failure;
    }
    const { kept, undo } = step();
    const { promise, resolve, reject } = Promise.withResolvers<Attachment>();
    const failed = (error: CniError) => {
      undo();
      reject(error);
    };
    this.#wait({ done: () => resolve(kept), failed });
    return promise;
  }

  #wait(waiting: Waiting): void {
    // After this turn's sockets: whatever they ask for shares the transaction.
    if (this.#waiting.length === 0) setImmediate(() => this.#commit());
    this.#waiting.push(waiting);
  }

  #commit(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    if (waiting.length === 0) return;
    const failure = this.#write();
    // The last change is undone first: it may stand on the one before.
    if (failure !== undefined) for (const { failed } of waiting.toReversed()) failed(failure);
    else for (const { done } of waiting) done();
  }

  /** Brings the file up to date with memory; why it couldn't. */
  #write(more: readonly RowChange[] = []): CniError | undefined {
    try {
      this.#writeAll(more);
      this.#problem = undefined;
      return undefined;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#problem = `state directory ${this.#options.directory}: ${why}`;
      return new CniError(error instanceof BusyError ? CODE.tryAgain : CODE.storage, this.#problem);
    }
  }

  #writeAll(more: readonly RowChange[]): void {
    if (!this.#isLoaded) this.#load();
    const journal = this.#journal;
    if (journal === undefined || !journal.isInPlace || this.#stale.size > MOST_STALE) {
      this.#rewrite();
      return;
    }
    const rows = [...more, ...[...this.#stale.values()].map(({ table, key }) => this.#book.rowOf(table, key))];
    if (rows.length === 0) return;
    try {
      journal.write(rows);
      this.#stale.clear();
    } catch (error) {
      if (!(error instanceof CorruptError)) throw error;
      this.#rewrite(error.message);
    }
  }

  #load(): void {
    const { bootId } = this.#options;
    const { journal, begun, movedAside } = openFile({ ...this.#place(), begin: found => load(found, bootId) });
    this.#journal = journal;
    const badRows = fill(this.#book, begun);
    this.#isLoaded = true;
    // What was just read is on disk as it is; what couldn't be read goes.
    this.#stale.clear();
    for (const { table, key } of begun.lost) this.#touch(table, key);
    for (const { key } of badRows) this.#touch('attachments', key);
    for (const id of this.#releasedUnread.values()) this.#book.release(id);
    this.#releasedUnread.clear();
    const { kind, dropped } = begun;
    for (const attachment of dropped) removeFiles(attachment);
    const intents = this.all().filter(({ state }) => state === 'intent');
    this.#options.onOpen({ kind, badRows, dropped, intents, ...(movedAside === undefined ? {} : { movedAside }) });
  }

  /** A new file with all that memory has. */
  #rewrite(damage?: string): void {
    const isRemoved = this.#journal?.isInPlace === false;
    this.#journal?.[Symbol.dispose]();
    this.#journal = undefined;
    const rows = [bootRow(this.#options.bootId), ...this.#book.rows()];
    const begin = (journal: Journal) => journal.replace(rows);
    const { journal, movedAside } = openFile({
      ...this.#place(),
      begin,
      isRemoved,
      ...(damage === undefined ? {} : { damage }),
    });
    this.#journal = journal;
    this.#stale.clear();
    const aside = movedAside === undefined ? {} : { movedAside };
    this.#options.onOpen({ kind: 'rewritten', badRows: [], dropped: [], intents: [], ...aside });
  }

  #touch(table: BookTable, key: readonly string[]): void {
    // Beyond this it says "all".
    if (this.#stale.size <= MOST_STALE) this.#stale.set(`${table}\n${key.join('\n')}`, { table, key });
  }

  #place(): { readonly directory: string; readonly wallMs: number } {
    return { directory: this.#options.directory, wallMs: (this.#options.wallClock ?? Date.now)() };
  }
}

function nothing(): void {
  // Nobody waits for this change.
}

/** Why one of an attachment's files of host-local is still there. */
function removeFiles({ leaseFiles = [] }: Attachment): CniError | undefined {
  try {
    for (const file of leaseFiles) rmSync(file, { force: true });
    return undefined;
  } catch (error) {
    return new CniError(CODE.storage, error instanceof Error ? error.message : String(error));
  }
}
