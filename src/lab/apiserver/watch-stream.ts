/**
 * One watch over HTTP. It pulls events out of the history at the pace of its connection: a slow client costs no
 * memory, and falls out with 410 when the history has moved on. Source: staging/src/k8s.io/apiserver/pkg/storage/cacher.
 */
import type { ServerResponse } from 'node:http';
import type { Collection } from './collection.ts';
import type { EventType, StoreEvent, Version } from './history.ts';
import type { Matcher } from './selectors.ts';
import { tooOldVersion } from './status.ts';
import type { Store } from './store.ts';
import { eventLine, eventText, type View } from './views.ts';

export interface WatchOptions {
  readonly store: Store;
  readonly collection: Collection;
  readonly response: ServerResponse;
  readonly view: View;
  /** '' = all namespaces. */
  readonly namespace: string;
  readonly matcher: Matcher | undefined;
  /** Objects that come first, as ADDED. */
  readonly initial: readonly Version[];
  /** The first event's position in the history. */
  readonly position: number;
  /** Events up to this version are left out (a watch may start in the future). */
  readonly after: number;
  /** A bookmark with the initial-events-end annotation follows the initial objects. */
  readonly marksInitialEnd: boolean;
  readonly bookmarks: boolean;
  readonly timeoutMs: number;
}

/** Initial objects are written in pieces of about this many characters. */
const pieceLength = 262_144;

export class WatchStream {
  readonly #options: WatchOptions;
  readonly #unsubscribe: () => void;
  readonly #timer: NodeJS.Timeout;
  readonly #initial: readonly Version[];
  #nextInitial = 0;
  #position: number;
  #bookmarked = -1;
  #isInitialDone: boolean;
  #isScheduled = false;
  #isClosed = false;
  #isHeld = false;
  #isOverdue = false;
  #cut: 'break' | 'end' | undefined;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#position = options.position;
    this.#initial = options.initial.filter(({ object }) => options.matcher?.(object) ?? true);
    this.#isInitialDone = !options.marksInitialEnd && this.#initial.length === 0;
    const { response } = options;
    response.writeHead(200, {
      'content-type': 'application/json',
      'transfer-encoding': 'chunked',
      'cache-control': 'no-cache, private',
    });
    response.flushHeaders();
    this.#unsubscribe = options.collection.subscribe(() => this.#schedule());
    this.#timer = setTimeout(() => this.close(), options.timeoutMs).unref();
    response.on('drain', () => this.#pump());
    response.on('close', () => this.#stop());
    response.on('error', () => this.#stop());
    this.#pump();
  }

  /** Ends the answer as a real server does at the timeout: with a last bookmark when the client wants them. */
  close(): void {
    if (this.#isClosed) return;
    this.#isOverdue = true;
    if (this.#isHeld) return;
    this.#pump();
    if (this.#bookmarked !== this.#options.store.revision) this.sendBookmark();
    this.#stop();
    this.#options.response.end();
  }

  /** Breaks the connection in the middle. */
  drop(): void {
    this.#stop();
    this.#options.response.socket?.destroy();
  }

  /** While held, nothing is sent and the end of the watch waits, as behind a proxy that hangs. */
  hold(isHeld: boolean): void {
    if (this.#isHeld === isHeld) return;
    this.#isHeld = isHeld;
    if (!isHeld && this.#isOverdue) this.close();
    else this.#pump();
  }

  /** Breaks off, or ends the answer, in the middle of the next line. */
  cut(ending: 'break' | 'end'): void {
    this.#cut = ending;
  }

  /** Ends with 410 as ERROR event. */
  expire(): void {
    if (this.#isClosed) return;
    const { response, collection } = this.#options;
    const lost = collection.history.forgotten;
    this.#write(eventText('ERROR', JSON.stringify(tooOldVersion(lost, lost).body)));
    this.#stop();
    response.end();
  }

  /** Tells the client the newest version (and that the connection lives), unless it isn't there yet. */
  sendBookmark(): void {
    const { bookmarks, store, collection, after, view } = this.#options;
    const isBehind = this.#position < collection.history.next || !this.#isInitialDone;
    if (this.#isClosed || this.#isHeld || !bookmarks || isBehind || store.revision < after) return;
    this.#bookmarked = store.revision;
    this.#write(eventText('BOOKMARK', view.bookmarkText(store.revision, false)));
  }

  #stop(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#unsubscribe();
  }

  /** Once per turn of the event loop: a burst of writes becomes one packet. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    const { response } = this.#options;
    if (this.#isClosed || this.#isHeld || response.writableNeedDrain) return;
    if (!this.#isInitialDone && !this.#writeInitial()) return;
    while (!this.#isClosed && this.#position < this.#options.collection.history.next) {
      if (!this.#writeEvents()) return;
    }
  }

  /** False when the connection is full. */
  #writeInitial(): boolean {
    const { view, marksInitialEnd, store } = this.#options;
    let isFlowing = true;
    while (isFlowing && this.#nextInitial < this.#initial.length) {
      let piece = '';
      for (; piece.length < pieceLength && this.#nextInitial < this.#initial.length; this.#nextInitial += 1) {
        const version = this.#initial[this.#nextInitial];
        if (version !== undefined) piece += eventText('ADDED', view.objectText(version));
      }
      isFlowing = this.#write(piece);
    }
    if (this.#nextInitial < this.#initial.length) return false;
    this.#isInitialDone = true;
    if (!marksInitialEnd) return isFlowing;
    // Exactly the state that was sent: events that came since follow behind the bookmark.
    const revision = this.#revisionOfInitial();
    if (revision === store.revision) this.#bookmarked = revision;
    return this.#write(eventText('BOOKMARK', view.bookmarkText(revision, true)));
  }

  /** Writes one piece of events; false when the connection is full. */
  #writeEvents(): boolean {
    const { collection, view } = this.#options;
    const lines: Buffer[] = [];
    let length = 0;
    for (; length < pieceLength && this.#position < collection.history.next; this.#position += 1) {
      const event = collection.history.at(this.#position);
      if (event === undefined) {
        this.expire();
        return false;
      }
      const type = this.#typeOf(event);
      if (type === undefined) continue;
      const line = eventLine(event, type, view);
      lines.push(line);
      length += line.length;
    }
    const [first] = lines;
    return first === undefined || this.#write(lines.length === 1 ? first : Buffer.concat(lines));
  }

  #revisionOfInitial(): number {
    const { collection, store } = this.#options;
    const next = collection.history.at(this.#position);
    return next === undefined ? store.revision : next.current.revision - 1;
  }

  /**
   * What an event is for this watch, undefined when it isn't shown: an object that begins or ceases to match the
   * selectors comes or goes.
   */
  #typeOf(event: StoreEvent): EventType | undefined {
    const { matcher, namespace, after } = this.#options;
    if (event.current.revision <= after) return undefined;
    if (namespace !== '' && event.current.object.metadata.namespace !== namespace) return undefined;
    if (matcher === undefined) return event.type;
    const matched = event.previous !== undefined && matcher(event.previous.object);
    const matches = event.type !== 'DELETED' && matcher(event.current.object);
    if (matches) return matched ? 'MODIFIED' : 'ADDED';
    return matched ? 'DELETED' : undefined;
  }

  /** False when the connection is full. All that is sent passes here: a cut happens in the middle of a line. */
  #write(lines: string | Buffer): boolean {
    const { response } = this.#options;
    if (this.#cut === undefined) return response.write(lines);
    const bytes = Buffer.from(lines);
    const half = bytes.subarray(0, Math.floor(bytes.indexOf('\n') / 2));
    this.#stop();
    if (this.#cut === 'end') response.end(half);
    else response.write(half, () => response.socket?.destroy());
    return false;
  }
}
