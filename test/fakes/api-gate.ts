/**
 * What stands in front of a real API server: TLS, a bearer token, and a ClusterRole. Requests with another token are answered with 401,
 * those that the role doesn't allow with 403; all are noted, and the rest goes on to the server behind.
 */
import { createServer, type IncomingMessage, type RequestListener, request, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { V1PolicyRule } from '@kubernetes/client-node';

/** `list services` or `watch endpointslices.discovery.k8s.io`: a verb and a resource, as kubectl writes it. */
export type Access = string;

export interface ApiGate extends AsyncDisposable {
  readonly url: string;
  readonly used: ReadonlySet<Access>;
  readonly refused: ReadonlySet<Access>;
}

export interface ApiGateOptions {
  /** The API server behind it, plain HTTP. */
  readonly server: string;
  readonly rules: readonly V1PolicyRule[];
  /** Where it listens; default: a free port of the loopback interface. */
  readonly host?: string;
  readonly port?: number;
  /** PEM; without it the gate speaks plain HTTP. */
  readonly tls?: { readonly key: string; readonly cert: string };
  /** Asked for each request; default: any will do, none too. */
  readonly isTokenValid?: (token: string) => boolean;
  /** false: a server from before WatchList, which refuses its parameter. Default true. */
  readonly hasWatchList?: boolean;
  /** Told of each request that is refused. */
  readonly onRefused?: (what: string) => void;
}

/** Everything that rules allow. */
export function accessOf(rules: readonly V1PolicyRule[]): Access[] {
  return rules.flatMap(({ apiGroups = [], resources = [], verbs }) =>
    apiGroups.flatMap(group => resources.flatMap(name => verbs.map(verb => accessText(verb, name, group)))),
  );
}

function accessText(verb: string, resource: string, group: string): Access {
  return `${verb} ${resource}${group === '' ? '' : `.${group}`}`;
}

/** A collection, of the whole cluster or of a namespace, or an object in it: `/api/v1/nodes`, `/apis/events.k8s.io/v1/namespaces/default/events/a`. */
const RESOURCE =
  /^(?:\/api|\/apis\/(?<group>[^/]+))\/v1\/(?:namespaces\/[^/]+\/)?(?<resource>[^/]+)(?<object>\/[^/]+)?$/;

/** What a request needs; undefined for discovery, which every account may read (ClusterRole system:discovery). */
function accessFor(method: string, { pathname, searchParams }: URL): Access | undefined {
  const { group = '', resource, object } = RESOURCE.exec(pathname)?.groups ?? {};
  if (resource === undefined) return undefined;
  const reading = object !== undefined ? 'get' : searchParams.has('watch') ? 'watch' : 'list';
  const verb = { GET: reading, POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[method];
  return accessText(verb ?? method, resource, group);
}

function sendStatus(response: ServerResponse, code: number, reason: string): void {
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message: reason };
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** Hands the request on, and gives up both sides when one ends. */
function forward(incoming: IncomingMessage, response: ServerResponse, server: string): void {
  const { method, headers } = incoming;
  const outgoing = request(new URL(incoming.url ?? '', server), { method, headers }, answer => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.flushHeaders();
    answer.on('error', () => response.destroy()).pipe(response);
  });
  incoming.pipe(outgoing.on('error', () => response.destroy()));
  response.on('close', () => outgoing.destroy());
}

/** Starts the gate. Rejects when the address can't be bound. */
export async function openApiGate(options: ApiGateOptions): Promise<ApiGate> {
  const { server, rules, tls, host = '127.0.0.1', port = 0, hasWatchList = true } = options;
  const allowed = new Set(accessOf(rules));
  const used = new Set<Access>();
  const refused = new Set<Access>();
  const refusal = (url: URL, access: Access | undefined, token: string): [number, string] | undefined => {
    if (options.isTokenValid?.(token) === false) return [401, 'Unauthorized'];
    if (access !== undefined && !allowed.has(access)) return [403, 'Forbidden'];
    return !hasWatchList && url.searchParams.has('sendInitialEvents') ? [422, 'Invalid'] : undefined;
  };
  const listener: RequestListener = (incoming, response) => {
    const url = new URL(incoming.url ?? '', server);
    const access = accessFor(incoming.method ?? '', url);
    const reason = refusal(url, access, /^Bearer (.*)$/.exec(incoming.headers.authorization ?? '')?.[1] ?? '');
    if (reason === undefined) {
      if (access !== undefined) used.add(access);
      forward(incoming, response, server);
      return;
    }
    if (access !== undefined && reason[0] === 403) refused.add(access);
    options.onRefused?.(`${reason[0]} ${access ?? url.pathname}`);
    sendStatus(response, ...reason);
  };
  const gate = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve, reject) => gate.once('error', reject).listen({ host, port }, resolve));
  const bound = gate.address() as AddressInfo;
  return {
    url: `${tls === undefined ? 'http' : 'https'}://${bound.address}:${bound.port}`,
    used,
    refused,
    async [Symbol.asyncDispose]() {
      const isClosed = new Promise(resolve => gate.close(resolve));
      gate.closeAllConnections();
      await isClosed;
    },
  };
}
