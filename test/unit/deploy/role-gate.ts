/** What stands in front of a real API server: requests that a ClusterRole doesn't allow are answered with 403, and all are noted. */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { V1PolicyRule } from '@kubernetes/client-node';

/** `list services` or `watch endpointslices.discovery.k8s.io`: a verb and a resource, as kubectl writes it. */
export type Access = string;

export interface RoleGate extends AsyncDisposable {
  readonly url: string;
  readonly used: ReadonlySet<Access>;
  readonly refused: ReadonlySet<Access>;
}

export interface RoleGateOptions {
  /** The API server behind it. */
  readonly server: string;
  readonly rules: readonly V1PolicyRule[];
  /** false: a server from before WatchList, which refuses its parameter. Default true. */
  readonly hasWatchList?: boolean;
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

/** A collection of the whole cluster: `/api/v1/nodes`, `/apis/discovery.k8s.io/v1/endpointslices`. */
const COLLECTION = /^(?:\/api|\/apis\/(?<group>[^/]+))\/v1\/(?<resource>[^/]+)$/;

/** What a request needs; undefined for discovery, which every account may read (ClusterRole system:discovery). */
function accessFor({ pathname, searchParams }: URL): Access | undefined {
  const { group = '', resource } = COLLECTION.exec(pathname)?.groups ?? {};
  if (resource === undefined) return undefined;
  return accessText(searchParams.has('watch') ? 'watch' : 'list', resource, group);
}

function sendStatus(response: ServerResponse, code: number, reason: string): void {
  const body = { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason, message: reason };
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** Hands the request on, and gives up both sides when one ends. */
function forward(incoming: IncomingMessage, response: ServerResponse, server: string): void {
  const outgoing = request(new URL(incoming.url ?? '', server), { headers: incoming.headers }, answer => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    response.flushHeaders();
    answer.on('error', () => response.destroy()).pipe(response);
  });
  outgoing.on('error', () => response.destroy()).end();
  response.on('close', () => outgoing.destroy());
}

/** Starts the gate on a free port of the loopback interface. */
export async function openRoleGate({ server, rules, hasWatchList = true }: RoleGateOptions): Promise<RoleGate> {
  const allowed = new Set(accessOf(rules));
  const used = new Set<Access>();
  const refused = new Set<Access>();
  const gate = createServer((incoming, response) => {
    const url = new URL(incoming.url ?? '', server);
    const access = accessFor(url);
    if (access !== undefined && !allowed.has(access)) {
      refused.add(access);
      sendStatus(response, 403, 'Forbidden');
      return;
    }
    if (!hasWatchList && url.searchParams.has('sendInitialEvents')) {
      sendStatus(response, 422, 'Invalid');
      return;
    }
    if (access !== undefined) used.add(access);
    forward(incoming, response, server);
  });
  await new Promise<void>(resolve => gate.listen(0, '127.0.0.1', resolve));
  const { port } = gate.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    used,
    refused,
    async [Symbol.asyncDispose]() {
      const isClosed = new Promise(resolve => gate.close(resolve));
      gate.closeAllConnections();
      await isClosed;
    },
  };
}
