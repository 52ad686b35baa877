import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';

/** What a route answers. */
export interface Reply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export type Route = () => Reply | Promise<Reply>;

export const TEXT = 'text/plain; charset=utf-8';
export const JSON_TYPE = 'application/json';

/**
 * Serves GET and HEAD of exactly these paths (the query is ignored), 404 for any other path and 405 for any other method.
 * A route that throws gives 500 with the error's message; the server goes on.
 */
export function serveRoutes(routes: Readonly<Record<string, Route>>): RequestListener {
  const byPath = new Map(Object.entries(routes));
  return (request, response) => {
    const path = (request.url ?? '').replace(/[?#].*$/s, '');
    void replyOf(byPath.get(path), request).then(reply => send(response, reply));
  };
}

async function replyOf(route: Route | undefined, request: IncomingMessage): Promise<Reply> {
  if (route === undefined) return { status: 404, contentType: TEXT, body: '404 page not found\n' };
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return { status: 405, contentType: TEXT, body: 'GET and HEAD only\n' };
  }
  try {
    return await route();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { status: 500, contentType: TEXT, body: `${message}\n` };
  }
}

function send(response: ServerResponse, { status, contentType, body }: Reply): void {
  response.writeHead(status, {
    'Content-Type': contentType,
    'Content-Length': Buffer.byteLength(body),
    'X-Content-Type-Options': 'nosniff',
    ...(status === 405 ? { Allow: 'GET, HEAD' } : {}),
  });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}
