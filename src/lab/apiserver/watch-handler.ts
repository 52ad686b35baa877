/** Where a watch starts, by resourceVersion and sendInitialEvents (KEP-3157). */

import type { Exchange } from './handlers.ts';
import type { Version } from './history.ts';
import { type ListOptions, parseListOptions, parseRevision, waitForRevision } from './list.ts';
import { chooseView } from './request.ts';
import { tooOldVersion } from './status.ts';
import { eventText } from './views.ts';
import { WatchStream } from './watch-stream.ts';

interface Start {
  readonly initial: readonly Version[];
  readonly position: number;
  readonly after: number;
}

/** Undefined when the start is forgotten. */
function startOf({ store, target }: Exchange, options: ListOptions): Start | undefined {
  const collection = store.collection(target.resource.id);
  const requested = parseRevision(options.resourceVersion);
  // Without a version a watch begins with what exists, unless the client says that it doesn't want to see that.
  const hasInitial = options.sendInitialEvents ?? requested === 0;
  if (hasInitial || requested === 0) {
    const initial = hasInitial ? collection.versions(target.namespace) : [];
    return { initial, position: collection.history.next, after: 0 };
  }
  const position = collection.history.positionAfter(requested);
  return position === undefined ? undefined : { initial: [], position, after: requested };
}

/** Opens a watch; undefined when it is answered and over: a start that is too old gets its 410 as an event. */
export async function openWatch(exchange: Exchange, defaultTimeoutMs: number): Promise<WatchStream | undefined> {
  const { target, query, request, response, store } = exchange;
  const options = parseListOptions(target.resource, query);
  const view = chooseView(request, target.resource, query, () => store.now());
  const requested = parseRevision(options.resourceVersion);
  if (options.sendInitialEvents === true) await waitForRevision(store, requested, exchange.freshnessWaitMs);
  const collection = store.collection(target.resource.id);
  const start = startOf(exchange, options);
  if (start === undefined) {
    const error = tooOldVersion(requested, collection.history.forgotten);
    response.writeHead(200, { 'content-type': 'application/json', 'transfer-encoding': 'chunked' });
    response.end(eventText('ERROR', JSON.stringify(error.body)));
    return undefined;
  }
  return new WatchStream({
    store,
    collection,
    response,
    view,
    namespace: target.namespace,
    matcher: options.matcher,
    ...start,
    marksInitialEnd: options.sendInitialEvents === true && options.allowWatchBookmarks,
    bookmarks: options.allowWatchBookmarks,
    timeoutMs: options.timeoutSeconds === undefined ? defaultTimeoutMs : options.timeoutSeconds * 1000,
  });
}
