/** Requests on resources: what each method does with a target. Watches are in watch-handler.ts. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Version } from './history.ts';
import { applyJsonPatch, applyMergePatch } from './json-patch.ts';
import { listPage, parseListOptions, parseRevision, waitForRevision } from './list.ts';
import { checkShape } from './metadata.ts';
import { isJsonObject, type JsonObject, type KubeObject, type KubeObjectInput, keyOf } from './objects.ts';
import { chooseView, decodeBody, decodeObject, mediaType, readBody, type Target } from './request.ts';
import { apiVersionOf, type Resource } from './resource.ts';
import { type ResourceId, resourceOf } from './resources.ts';
import { badRequest, deletedStatus, methodNotAllowed, notFound, StatusError } from './status.ts';
import type { DeleteOptions, Store, WriteOptions } from './store.ts';
import { applyStrategicPatch } from './strategic-patch.ts';
import type { View } from './views.ts';

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly target: Target;
  readonly store: Store;
  /** How long a read may wait for a version that isn't reached yet. */
  readonly freshnessWaitMs: number;
}

/**
 * Bytes above which an answer goes out chunked. Go's server does that with what its buffer of 2048 can't hold; ours
 * lack the managedFields, about half of a small object.
 */
const chunkedAbove = 1024;

/** Sends a JSON text. */
export function sendText(response: ServerResponse, code: number, text: string): void {
  const body = Buffer.from(`${text}\n`);
  const length = body.length > chunkedAbove ? { 'transfer-encoding': 'chunked' } : { 'content-length': body.length };
  response.writeHead(code, { 'content-type': 'application/json', 'cache-control': 'no-cache, private', ...length });
  response.end(body);
}

export function sendStatus(response: ServerResponse, error: StatusError): void {
  const retryAfter = error.options.details?.retryAfterSeconds;
  if (retryAfter !== undefined) response.setHeader('retry-after', String(retryAfter));
  sendText(response, error.code, JSON.stringify(error.body));
}

function viewOf({ request, target, query, store }: Exchange): View {
  return chooseView(request, target.resource, query, () => store.now());
}

/** Where the objects of a resource are kept. */
function storedResource(resource: Resource): Resource & { readonly id: ResourceId } {
  return resourceOf(resource.storedAs?.id ?? resource.id) as Resource & { readonly id: ResourceId };
}

/** An object under the stored field names, after the check that it is of the kind that the path serves. */
function toStored(resource: Resource, input: KubeObjectInput): KubeObjectInput {
  if (resource.storedAs === undefined) return input;
  const { kind = resource.kind, apiVersion = apiVersionOf(resource), ...fields } = input;
  if (kind !== resource.kind || apiVersion !== apiVersionOf(resource)) {
    throw badRequest(`the API version in the data (${apiVersion}) does not match the expected API version`);
  }
  const stored = new Map(resource.storedAs.renames.map(([own, served]) => [served, own]));
  return Object.fromEntries(Object.entries(fields).map(([field, value]) => [stored.get(field) ?? field, value]));
}

/** The reverse of toStored, for patches that are written against the served names. */
function toServed(resource: Resource, object: KubeObject): JsonObject {
  if (resource.storedAs === undefined) return object;
  const served = new Map(resource.storedAs.renames);
  const fields = Object.entries(object).map(([field, value]) => [served.get(field) ?? field, value]);
  return { ...Object.fromEntries(fields), kind: resource.kind, apiVersion: apiVersionOf(resource) };
}

function writeOptions({ query, target }: Exchange): WriteOptions {
  return { dryRun: query.getAll('dryRun').includes('All'), subresource: target.subresource };
}

function get(exchange: Exchange): void {
  const { target, store, response } = exchange;
  const { resource, namespace, name } = target;
  const view = viewOf(exchange);
  const version = store.collection(resource.id).get(keyOf(namespace, name));
  if (version === undefined) throw notFound(resource, name);
  sendText(response, 200, view.objectText(version));
}

async function list(exchange: Exchange): Promise<void> {
  const { target, query, store, response } = exchange;
  const options = parseListOptions(target.resource, query);
  const view = viewOf(exchange);
  await waitForRevision(store, parseRevision(options.resourceVersion), exchange.freshnessWaitMs);
  sendText(response, 200, view.listText(listPage(store, target.resource, target.namespace, options)));
}

async function create(exchange: Exchange): Promise<void> {
  const { request, target, store, response } = exchange;
  const { resource } = target;
  if (resource.namespaced && target.namespace === '') throw methodNotAllowed();
  const view = viewOf(exchange);
  const input = decodeObject(mediaType(request), await readBody(request));
  const version = store.create(
    storedResource(resource).id,
    target.namespace,
    toStored(resource, input),
    writeOptions(exchange),
  );
  sendText(response, 201, view.objectText(version));
}

async function update(exchange: Exchange): Promise<void> {
  const { request, target, store, response } = exchange;
  const { resource, namespace, name } = target;
  const view = viewOf(exchange);
  const input = decodeObject(mediaType(request), await readBody(request));
  const { id } = storedResource(resource);
  const isNew = store.get(id, namespace, name) === undefined;
  const version = store.update(id, namespace, name, toStored(resource, input), writeOptions(exchange));
  sendText(response, isNew ? 201 : 200, view.objectText(version));
}

type Patch = (current: JsonObject) => unknown;

/** The change that a patch body describes, by its media type. Throws 415 for others. */
function parsePatch(resource: Resource, type: string, body: Buffer): Patch {
  switch (type) {
    case 'application/json-patch+json': {
      const patch = decodeBody(type, body);
      return current => applyJsonPatch(current, patch);
    }
    case 'application/merge-patch+json': {
      const patch = decodeObject(type, body);
      return current => applyMergePatch(current, patch);
    }
    case 'application/strategic-merge-patch+json': {
      const patch = decodeObject(type, body);
      return current => applyStrategicPatch(resource.kind, current, patch);
    }
    case 'application/apply-patch+yaml': {
      // Field ownership isn't kept: what the applier names is set, nothing is taken away.
      const patch = decodeObject(type, body);
      return current => applyStrategicPatch(resource.kind, current, patch);
    }
    default:
      throw new StatusError(
        415,
        'the body of the request was in an unknown format - accepted media types include: application/json-patch+json, ' +
          'application/merge-patch+json, application/apply-patch+yaml, application/strategic-merge-patch+json',
        { reason: 'UnsupportedMediaType' },
      );
  }
}

async function patch(exchange: Exchange): Promise<void> {
  const { request, target, store, response } = exchange;
  const { resource, namespace, name } = target;
  const view = viewOf(exchange);
  const type = mediaType(request);
  const body = await readBody(request);
  const { id } = storedResource(resource);
  if (type === 'application/apply-patch+yaml' && store.get(id, namespace, name) === undefined) {
    const input = decodeObject(type, body);
    const created = { ...input, metadata: { ...input.metadata, name } };
    const version = store.create(id, namespace, toStored(resource, created), writeOptions(exchange));
    sendText(response, 201, view.objectText(version));
    return;
  }
  const change = parsePatch(resource, type, body);
  const version = store.patch(
    id,
    namespace,
    name,
    current => {
      const changed = change(toServed(resource, current));
      if (!isJsonObject(changed)) throw badRequest('the patched object is not a JSON object');
      return toStored(resource, changed);
    },
    writeOptions(exchange),
  );
  sendText(response, 200, view.objectText(version));
}

/** metav1.DeleteOptions from the body and the query; the query wins. */
async function deleteOptions({ request, query, target }: Exchange): Promise<DeleteOptions> {
  const bytes = await readBody(request);
  const body = bytes.length === 0 ? {} : decodeObject(mediaType(request), bytes);
  checkShape(target.resource, { preconditions: body.preconditions });
  const preconditions = isJsonObject(body.preconditions) ? body.preconditions : {};
  const inBody = typeof body.gracePeriodSeconds === 'number' ? body.gracePeriodSeconds : undefined;
  const inQuery = query.get('gracePeriodSeconds');
  const { uid, resourceVersion } = preconditions;
  const dryRun = Array.isArray(body.dryRun) && body.dryRun.includes('All');
  return {
    dryRun: dryRun || query.getAll('dryRun').includes('All'),
    gracePeriodSeconds: inQuery === null ? inBody : Number(inQuery),
    uid: typeof uid === 'string' ? uid : undefined,
    resourceVersion: typeof resourceVersion === 'string' ? resourceVersion : undefined,
  };
}

async function remove(exchange: Exchange): Promise<void> {
  const { target, store, response } = exchange;
  const { resource, namespace, name } = target;
  const view = viewOf(exchange);
  const options = await deleteOptions(exchange);
  const { last, isRemoved } = store.delete(storedResource(resource).id, namespace, name, options);
  const isObject = resource.returnsDeleted === true || !isRemoved;
  const status = (): string => JSON.stringify(deletedStatus(resource, name, last.object.metadata.uid ?? ''));
  sendText(response, 200, isObject ? view.objectText(last) : status());
}

async function removeCollection(exchange: Exchange): Promise<void> {
  const { target, query, store, response } = exchange;
  const { resource, namespace } = target;
  if (resource.namespaced && namespace === '') throw methodNotAllowed();
  const view = viewOf(exchange);
  const options = parseListOptions(resource, query);
  const deletion = await deleteOptions(exchange);
  const page = listPage(store, resource, namespace, { ...options, limit: 0, continueToken: '' });
  const { id } = storedResource(resource);
  const gone: Version[] = page.versions.map(
    ({ object }) => store.delete(id, namespace, object.metadata.name ?? '', deletion).last,
  );
  sendText(response, 200, view.listText({ ...page, versions: gone }));
}

/** Does what a request other than a watch asks for. Throws StatusError. */
export async function handle(exchange: Exchange): Promise<void> {
  const isCollection = exchange.target.name === '';
  switch (exchange.request.method) {
    case 'GET':
    case 'HEAD':
      return isCollection ? list(exchange) : get(exchange);
    case 'POST':
      if (isCollection) return create(exchange);
      throw methodNotAllowed();
    case 'PUT':
      if (!isCollection) return update(exchange);
      throw methodNotAllowed();
    case 'PATCH':
      if (!isCollection) return patch(exchange);
      throw methodNotAllowed();
    case 'DELETE':
      if (exchange.target.subresource !== undefined) throw methodNotAllowed();
      return isCollection ? removeCollection(exchange) : remove(exchange);
    default:
      throw methodNotAllowed();
  }
}
