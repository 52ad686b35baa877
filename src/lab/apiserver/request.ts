/** What a request asks for: its path, body and the representations it accepts. */
import type { IncomingMessage } from 'node:http';
import { parse as parseYaml } from 'yaml';
import { isJsonObject, type KubeObjectInput } from './objects.ts';
import { decodeProtobuf } from './protobuf.ts';
import type { Resource } from './resource.ts';
import { findResource, groupVersions } from './resources.ts';
import { badRequest, noSuchResource, StatusError } from './status.ts';
import type { IncludeObject } from './table.ts';
import { metadataView, plainView, tableView, type View } from './views.ts';

/** The part of the resource tree that a path names. */
export interface Target {
  readonly resource: Resource;
  /** '' = cluster-scoped, or all namespaces. */
  readonly namespace: string;
  /** '' = the collection. */
  readonly name: string;
  readonly subresource: 'status' | undefined;
}

function isServed(group: string, version: string, without: ReadonlySet<string>): boolean {
  return !without.has(group) && groupVersions().some(row => row.group === group && row.version === version);
}

const NONE: ReadonlySet<string> = new Set();

/**
 * The target of a path under /api/v1 or /apis/GROUP/VERSION; undefined when there is no such group and version
 * (the server answers plain text then). `without` names groups that aren't served. Throws 404 for an unknown resource.
 */
export function parseTarget(pathname: string, without: ReadonlySet<string> = NONE): Target | undefined {
  const [root, ...segments] = pathname
    .split('/')
    .filter(segment => segment !== '')
    .map(decodeURIComponent);
  const group = root === 'apis' ? (segments.shift() ?? '') : '';
  const version = segments.shift() ?? '';
  if ((root !== 'api' && root !== 'apis') || !isServed(group, version, without) || segments.length === 0)
    return undefined;
  // /namespaces/NAME and /namespaces/NAME/status are the Namespace itself, anything longer lies inside it.
  const isInside =
    segments[0] === 'namespaces' && segments.length > 2 && !(segments.length === 3 && segments[2] === 'status');
  const namespace = isInside ? (segments[1] ?? '') : '';
  const [plural = '', name = '', subresource, ...rest] = isInside ? segments.slice(2) : segments;
  const resource = findResource(group, version, plural);
  if (resource === undefined || rest.length > 0 || (isInside && !resource.namespaced)) throw noSuchResource();
  if (resource.namespaced && name !== '' && !isInside) throw noSuchResource();
  if (subresource === undefined) return { resource, namespace, name, subresource };
  if (subresource !== 'status' || !resource.hasStatus) throw noSuchResource();
  return { resource, namespace, name, subresource };
}

/** The whole body. */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** The media type of a request, without parameters. */
export function mediaType(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}

const bodyTypes = 'application/json, application/yaml, application/vnd.kubernetes.protobuf';

/** Decodes JSON, YAML or protobuf. Throws 400, and 415 for unknown types. */
export function decodeBody(type: string, body: Buffer): unknown {
  if (type === 'application/vnd.kubernetes.protobuf') return decodeProtobuf(body);
  const isYaml = type.endsWith('yaml');
  if (type !== '' && !isYaml && !type.endsWith('json') && type !== 'application/x-www-form-urlencoded') {
    const message = `the body of the request was in an unknown format - accepted media types include: ${bodyTypes}`;
    throw new StatusError(415, message, { reason: 'UnsupportedMediaType' });
  }
  try {
    const text = body.toString();
    return isYaml ? (parseYaml(text) as unknown) : (JSON.parse(text) as unknown);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw badRequest(`couldn't get version/kind; json parse error: ${why}`);
  }
}

/** A body that must be an object of the API. */
export function decodeObject(type: string, body: Buffer): KubeObjectInput {
  const value = decodeBody(type, body);
  if (!isJsonObject(value)) throw badRequest('the object provided is unrecognized: it is not a JSON object');
  return value;
}

interface Acceptable {
  readonly type: string;
  readonly as: string;
}

/** The Accept header's choices, in the client's order; quality values are not in use among Kubernetes clients. */
function parseAccept(header: string): Acceptable[] {
  return header.split(',').map(choice => {
    const [type = '', ...parameters] = choice.split(';').map(part => part.trim());
    const as = parameters.find(parameter => parameter.startsWith('as='))?.slice(3) ?? '';
    return { type, as };
  });
}

const jsonTypes = ['application/json', 'application/*', '*/*', ''];

/** The view that answers a request. Throws 406 when JSON isn't acceptable in any form. */
export function chooseView(
  request: IncomingMessage,
  resource: Resource,
  query: URLSearchParams,
  now: () => Date,
): View {
  for (const { type, as } of parseAccept(request.headers.accept ?? '')) {
    if (!jsonTypes.includes(type)) continue;
    if (as === '') return plainView(resource);
    if (as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList') return metadataView(resource);
    if (as === 'Table') {
      const include = query.get('includeObject');
      return tableView(
        resource,
        include === 'None' || include === 'Object' ? include : ('Metadata' as IncludeObject),
        now,
      );
    }
  }
  const message = 'only the following media types are accepted: application/json';
  throw new StatusError(406, message, { reason: 'NotAcceptable' });
}
