import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';

/** What a route answers. */
export interface Reply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** Gets the request's body, '' of a GET. */
export type Route = (body: string) => Reply | Promise<Reply>;

/** Routes by path, for GET and HEAD, or by `POST path`. */
export type Routes = Readonly<Record<string, Route>>;

export const TEXT = 'text/plain; charset=utf-8';
export const JSON_TYPE = 'application/json';

/** In the header `Server` of every answer: kube-proxy, which has the same paths on the same ports, names nobody there. */
export const SERVER_NAME = 'kproxy-ts';

/** Requests to us are a few words. */
const BODY_LIMIT_BYTES = 16 * 1024;

/**
 * Serves exactly these paths (the query is ignored), 404 for any other path and 405 for any other method.
 * A route that throws gives 500 with the error's message; the server goes on.
 */
export function serveRoutes(routes: Routes): RequestListener {
  const byKey = new Map(Object.entries(routes));
  return (request, response) => {
    void replyOf(byKey, request).then(reply => send(response, reply));
  };
}

type Answer = Reply & { readonly allow?: string };

async function replyOf(routes: ReadonlyMap<string, Route>, request: IncomingMessage): Promise<Answer> {
  const path = (request.url ?? '').replace(/[?#].*$/s, '');
  const isGet = request.method === 'GET' || request.method === 'HEAD';
  const route = routes.get(isGet ? path : `${request.method} ${path}`);
  try {
    if (route !== undefined) return await route(isGet ? '' : await bodyOf(request));
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { status: 500, contentType: TEXT, body: `${message}\n` };
  }
  const allow = [routes.has(path) ? 'GET, HEAD' : '', routes.has(`POST ${path}`) ? 'POST' : ''].filter(Boolean);
  if (allow.length === 0) return { status: 404, contentType: TEXT, body: '404 page not found\n' };
  return { status: 405, contentType: TEXT, body: `only ${allow.join(', ')}\n`, allow: allow.join(', ') };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const length = Number(request.headers['content-length'] ?? Number.NaN);
  if (!(length <= BODY_LIMIT_BYTES))
    throw new Error(`a body must have a Content-Length of at most ${BODY_LIMIT_BYTES}`);
  return text(request);
}

function send(response: ServerResponse, { status, contentType, body, allow }: Answer): void {
  response.writeHead(status, {
    'Content-Type': contentType,
    Server: SERVER_NAME,
    'Content-Length': Buffer.byteLength(body),
    'X-Content-Type-Options': 'nosniff',
    ...(allow === undefined ? {} : { Allow: allow }),
  });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}
