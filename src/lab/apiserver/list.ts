/**
 * Lists with the semantics of resourceVersion, resourceVersionMatch, limit and continue.
 * Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions and
 * apimachinery/pkg/apis/internalversion/validation/validation.go.
 */
import { forbiddenField, notSupported } from './field-errors.ts';
import type { Version } from './history.ts';
import { isJsonObject } from './objects.ts';
import type { Resource } from './resource.ts';
import { type Matcher, parseSelectors } from './selectors.ts';
import { badRequest, expiredList, invalid, malformedVersion, type StatusCause, tooLargeVersion } from './status.ts';
import type { Store } from './store.ts';

export interface ListOptions {
  readonly resourceVersion: string;
  readonly resourceVersionMatch: string;
  /** 0 = everything. */
  readonly limit: number;
  readonly continueToken: string;
  readonly matcher: Matcher | undefined;
  readonly watch: boolean;
  readonly allowWatchBookmarks: boolean;
  readonly sendInitialEvents: boolean | undefined;
  /** Undefined = the server's choice. */
  readonly timeoutSeconds: number | undefined;
}

export interface ListPage {
  readonly versions: readonly Version[];
  readonly revision: number;
  /** '' on the last page. */
  readonly continueToken: string;
  /** Undefined when unknown, as with selectors. */
  readonly remaining: number | undefined;
}

/** Go's reading of a flag in a query: present is true, except `0` and `false`. */
export function parseFlag(text: string | null): boolean | undefined {
  return text === null ? undefined : text !== '0' && text.toLowerCase() !== 'false';
}

/** The list options of a query. Throws 400 or 422 where a real server does. */
export function parseListOptions(resource: Resource, query: URLSearchParams): ListOptions {
  const options: ListOptions = {
    resourceVersion: query.get('resourceVersion') ?? '',
    resourceVersionMatch: query.get('resourceVersionMatch') ?? '',
    limit: Number(query.get('limit') ?? 0) || 0,
    continueToken: query.get('continue') ?? '',
    matcher: parseSelectors(resource, query.get('labelSelector') ?? '', query.get('fieldSelector') ?? ''),
    watch: parseFlag(query.get('watch')) ?? false,
    allowWatchBookmarks: parseFlag(query.get('allowWatchBookmarks')) ?? false,
    sendInitialEvents: parseFlag(query.get('sendInitialEvents')),
    timeoutSeconds: Number(query.get('timeoutSeconds')) || undefined,
  };
  const causes = options.watch ? checkWatchOptions(options) : checkListOptions(options);
  if (causes.length > 0) throw invalid('meta.k8s.io', 'ListOptions', '', causes);
  return options;
}

const matches = ['Exact', 'NotOlderThan', ''];

function checkWatchOptions({ resourceVersionMatch: match, sendInitialEvents }: ListOptions): StatusCause[] {
  const field = 'resourceVersionMatch';
  if (sendInitialEvents !== undefined) {
    return match === 'NotOlderThan'
      ? []
      : [forbiddenField(field, 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan')];
  }
  return match === ''
    ? []
    : [forbiddenField(field, 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided')];
}

function checkListOptions(options: ListOptions): StatusCause[] {
  const { resourceVersionMatch: match, resourceVersion, continueToken, sendInitialEvents } = options;
  const field = 'resourceVersionMatch';
  if (sendInitialEvents !== undefined) {
    return [forbiddenField('sendInitialEvents', 'sendInitialEvents is forbidden for list')];
  }
  if (match === '') return [];
  if (continueToken !== '') {
    return [forbiddenField(field, 'resourceVersionMatch is forbidden when continue is provided')];
  }
  if (resourceVersion === '') {
    return [forbiddenField(field, 'resourceVersionMatch is forbidden unless resourceVersion is provided')];
  }
  if (!matches.includes(match)) return [notSupported(field, match, matches)];
  if (match === 'Exact' && resourceVersion === '0') {
    return [forbiddenField(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')];
  }
  return [];
}

/** A resourceVersion as a number, '' as 0. Throws the 500 of a real server for anything else. */
export function parseRevision(text: string): number {
  if (text === '') return 0;
  if (!/^\d{1,20}$/.test(text)) throw malformedVersion(text);
  return Number(text);
}

interface PageToken {
  /** -1 = go on in the newest state. */
  readonly revision: number;
  /** The first key of the page. */
  readonly start: string;
}

/** Tokens have the form of a real server's: the version of the list and the key after the page's last one. */
export function encodeToken({ revision, start }: PageToken): string {
  const first = revision < 0 ? start : `/${start}`;
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv: revision, start: first })).toString('base64url');
}

export function decodeToken(text: string): PageToken {
  let token: unknown;
  try {
    token = JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch (error) {
    throw badRequest(`continue key is not valid: ${error instanceof Error ? error.message : String(error)}`);
  }
  const { rv, start } = isJsonObject(token) ? token : {};
  if (typeof rv !== 'number' || typeof start !== 'string') {
    throw badRequest('continue key is not valid: encoded start or resourceVersion is missing');
  }
  return { revision: rv, start: start.replace(/^\//, '') };
}

interface Snapshot {
  readonly revision: number;
  readonly versions: readonly Version[];
}

/** The state that the options ask for. The store must have reached it already. */
function snapshotFor(store: Store, resource: Resource, namespace: string, options: ListOptions): Snapshot {
  const collection = store.collection(resource.id);
  if (options.continueToken !== '') {
    if (options.resourceVersion !== '' && options.resourceVersion !== '0') {
      throw badRequest('specifying resource version is not allowed when using continue');
    }
    const token = decodeToken(options.continueToken);
    const revision = token.revision < 0 ? store.revision : token.revision;
    const versions = collection.versionsAt(revision, namespace);
    if (versions === undefined) throw expiredList(encodeToken({ revision: -1, start: token.start }));
    return { revision, versions: versions.filter(version => version.key >= token.start) };
  }
  const requested = parseRevision(options.resourceVersion);
  // A limit makes a plain resourceVersion exact, for the sake of clients older than resourceVersionMatch.
  const isExact =
    options.resourceVersionMatch === 'Exact' ||
    (options.resourceVersionMatch === '' && options.limit > 0 && requested > 0);
  if (!isExact) return { revision: store.revision, versions: collection.versions(namespace) };
  const versions = collection.versionsAt(requested, namespace);
  if (versions === undefined) throw expiredList();
  return { revision: requested, versions };
}

/** Waits, as a real server does, for a version that isn't reached yet; throws 504 when it doesn't come. */
export async function waitForRevision(store: Store, requested: number, waitMs: number): Promise<void> {
  const deadline = performance.now() + waitMs;
  while (store.revision < requested) {
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) throw tooLargeVersion(requested, store.revision);
    await new Promise(resolve => setTimeout(resolve, Math.min(50, leftMs)));
  }
}

/** One page of a list, in the order of keys. Throws StatusError 400, 410, 500 as recorded from a real server. */
export function listPage(store: Store, resource: Resource, namespace: string, options: ListOptions): ListPage {
  const { revision, versions } = snapshotFor(store, resource, namespace, options);
  const { matcher } = options;
  const matching = matcher === undefined ? versions : versions.filter(version => matcher(version.object));
  // Version 0 is answered whole from the watch cache, whatever the limit.
  const limit = options.resourceVersion === '0' && options.continueToken === '' ? 0 : options.limit;
  if (limit <= 0 || matching.length <= limit) {
    return { versions: matching, revision, continueToken: '', remaining: undefined };
  }
  const page = matching.slice(0, limit);
  const start = `${page.at(-1)?.key ?? ''}\u0000`;
  return {
    versions: page,
    revision,
    continueToken: encodeToken({ revision, start }),
    remaining: matcher === undefined ? matching.length - limit : undefined,
  };
}
