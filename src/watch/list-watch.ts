/**
 * The two ways of asking an API server, as plain functions: a complete list in pages, and a stream of events.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
import { ApiError, isExpired, statusError } from './api-error.ts';
import { isRecord } from './fields.ts';
import { LineSplitter } from './line-splitter.ts';
import { ListSplitter } from './list-splitter.ts';
import type { Transport } from './transport.ts';

type RawObject = Readonly<Record<string, unknown>>;

export interface WatchEvent {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: RawObject;
  readonly resourceVersion: string;
  /** A BOOKMARK that ends the initial events of a WatchList (KEP-3157). */
  readonly isInitialEnd: boolean;
}

export interface ListRequest {
  readonly transport: Transport;
  /** `/api/v1/services` */
  readonly path: string;
  /** Selectors: part of every page's request. */
  readonly query?: Readonly<Record<string, string>> | undefined;
  /** '0' = whatever the server has in its cache, '' = the state of now. */
  readonly resourceVersion: '0' | '';
  /** Called for each item while the list arrives, so that never more than one is held in its raw form. */
  readonly onItem: (item: unknown) => void;
  /** Called when the pages so far are no longer consistent with the rest: forget their items. */
  readonly onRestart: () => void;
  readonly signal: AbortSignal;
}

export interface WatchRequest {
  readonly transport: Transport;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** Called when the server has accepted the watch. */
  readonly onOpen: () => void;
  /** Called for what one network packet brought, in order. */
  readonly onEvents: (events: readonly WatchEvent[]) => void;
  readonly signal: AbortSignal;
}

const PAGE_SIZE = 500;
/** A page may be empty and not the last, but a server that has nothing but such would be asked without end. */
const MOST_EMPTY_PAGES = 100;
const LIST_IDLE_DEADLINE_MS = 60_000;
const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ApiError('protocol', `not JSON: ${text.slice(0, 200)}`, { cause });
  }
}

function metadataOf(object: unknown): RawObject {
  return isRecord(object) && isRecord(object.metadata) ? object.metadata : {};
}

function versionOf(object: unknown, what: string): string {
  const { resourceVersion } = metadataOf(object);
  if (typeof resourceVersion === 'string' && resourceVersion !== '') return resourceVersion;
  throw new ApiError('protocol', `${what} without a resourceVersion`);
}

/** One answer of a list, item by item; resolves to what is around the items. */
async function getList(request: ListRequest, query: Record<string, string>): Promise<RawObject> {
  const path = `${request.path}?${new URLSearchParams({ ...request.query, ...query })}`;
  const { signal } = request;
  const response = await request.transport.get(path, { idleDeadlineMs: LIST_IDLE_DEADLINE_MS, signal });
  const splitter = new ListSplitter();
  for await (const chunk of response.body) for (const item of splitter.push(chunk)) request.onItem(parseJson(item));
  const frame = parseJson(splitter.frame);
  if (isRecord(frame) && (Array.isArray(frame.items) || frame.items === null)) return frame;
  throw new ApiError('protocol', 'a list without items');
}

async function listPages(request: ListRequest, first: Record<string, string>): Promise<string> {
  let emptyPages = 0;
  const onItem = (item: unknown) => {
    emptyPages = 0;
    request.onItem(item);
  };
  for (let query = first; ; ) {
    emptyPages += 1;
    const page = await getList({ ...request, onItem }, query);
    const next = metadataOf(page).continue;
    if (typeof next !== 'string' || next === '') return versionOf(page, 'a list');
    if (next === query.continue || emptyPages > MOST_EMPTY_PAGES)
      throw new ApiError('protocol', 'pages without an end');
    // The token holds the resourceVersion of the first page; to name one beside it is an error.
    query = { limit: String(PAGE_SIZE), continue: next };
  }
}

/**
 * Lists everything, in pages. Resolves to the list's resourceVersion. A page token that expires on the way (410) means a
 * new list in one go, as client-go does: pages would only expire again.
 */
export async function listAll(request: ListRequest): Promise<string> {
  const version = request.resourceVersion === '' ? {} : { resourceVersion: request.resourceVersion };
  let hasItems = false;
  const onItem = (item: unknown) => {
    hasItems = true;
    request.onItem(item);
  };
  try {
    return await listPages({ ...request, onItem }, { limit: String(PAGE_SIZE), ...version });
  } catch (error) {
    if (!isExpired(error) || !hasItems) throw error;
    request.onRestart();
    return listPages(request, {});
  }
}

type Collection = Pick<ListRequest, 'transport' | 'path' | 'query' | 'signal'>;

/** The resourceVersion that the server has now. */
export async function readVersion(collection: Collection): Promise<string> {
  const list: ListRequest = {
    ...collection,
    resourceVersion: '',
    onItem: () => undefined,
    onRestart: () => undefined,
  };
  return versionOf(await getList(list, { limit: '1' }), 'a list');
}

/** Whether a watch from this version, open for a second, has events. */
export async function hasEventsAfter(resourceVersion: string, collection: Collection): Promise<boolean> {
  const enough = new AbortController();
  let hasEvents = false;
  const onEvents = (events: readonly WatchEvent[]) => {
    if (events.every(({ type }) => type === 'BOOKMARK')) return;
    hasEvents = true;
    enough.abort();
  };
  const query = { ...collection.query, resourceVersion, timeoutSeconds: '1' };
  const signal = AbortSignal.any([collection.signal, enough.signal]);
  try {
    await streamEvents({ ...collection, query, onOpen: () => undefined, onEvents, signal });
  } catch (error) {
    if (!hasEvents) throw error;
  }
  return hasEvents;
}

function parseEvent(line: string): WatchEvent {
  const event = parseJson(line);
  if (!isRecord(event) || !isRecord(event.object)) throw new ApiError('protocol', `no event: ${line.slice(0, 200)}`);
  const { type, object } = event;
  if (type === 'ERROR') throw statusError(500, object);
  if (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED' && type !== 'BOOKMARK') {
    throw new ApiError('protocol', `no event has the type ${JSON.stringify(type)}`);
  }
  const { annotations } = metadataOf(object);
  const isInitialEnd = type === 'BOOKMARK' && isRecord(annotations) && annotations[INITIAL_EVENTS_END] === 'true';
  return { type, object, resourceVersion: versionOf(object, type), isInitialEnd };
}

/** The events of the lines before the first that is none; and what that one means. */
function parseEvents(lines: readonly string[]): { events: WatchEvent[]; error: ApiError | undefined } {
  const events: WatchEvent[] = [];
  try {
    for (const line of lines) events.push(parseEvent(line));
  } catch (error) {
    if (error instanceof ApiError) return { events, error };
    throw error;
  }
  return { events, error: undefined };
}

/**
 * Streams events until the server ends the stream. Resolves to the bytes of a last line that was cut off (its event comes
 * again). Rejects with an ApiError when the connection breaks, for an ERROR event, and for what is no event.
 */
export async function streamEvents(request: WatchRequest): Promise<number> {
  const path = `${request.path}?${new URLSearchParams({ watch: '1', allowWatchBookmarks: 'true', ...request.query })}`;
  const { signal, onEvents } = request;
  const response = await request.transport.get(path, { signal });
  request.onOpen();
  const splitter = new LineSplitter();
  for await (const chunk of response.body) {
    const { events, error } = parseEvents(splitter.push(chunk));
    if (events.length > 0) onEvents(events);
    if (error !== undefined) throw error;
  }
  return splitter.pendingBytes;
}
