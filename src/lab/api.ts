/** Talks to a lab's API server from outside its namespaces, over a unix socket, which no namespace of the network hides. */
import { request } from 'node:http';
import type { ApiObject } from './manifests.ts';
import { epochMs } from './probe.ts';

/** The API server said no, or couldn't be reached (`status` 0). */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;

  constructor(op: string, status: number, message: string, cause?: unknown) {
    super(`${op}: ${message}`, { cause });
    this.status = status;
  }

  get isNotFound(): boolean {
    return this.status === 404;
  }

  get isConflict(): boolean {
    return this.status === 409;
  }
}

export interface ApiReply {
  readonly body: ApiObject;
  /** When the answer arrived, in milliseconds since the epoch: the change is accepted. */
  readonly acceptedAt: number;
}

/** A client of one lab's API server. Paths are those of the Kubernetes API, such as /api/v1/nodes. */
export class LabApi {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /** @throws {ApiError} */
  get(path: string): Promise<ApiReply> {
    return this.#send('GET', path);
  }

  /** POST to a collection. @throws {ApiError} */
  create(path: string, object: object): Promise<ApiReply> {
    return this.#send('POST', path, object, 'application/json');
  }

  /** A JSON merge patch. @throws {ApiError} */
  patch(path: string, changes: object): Promise<ApiReply> {
    return this.#send('PATCH', path, changes, 'application/merge-patch+json');
  }

  /** @throws {ApiError} */
  delete(path: string): Promise<ApiReply> {
    return this.#send('DELETE', path);
  }

  /** The objects of a collection. @throws {ApiError} */
  async list(path: string): Promise<readonly ApiObject[]> {
    const { body } = await this.get(path);
    return 'items' in body && Array.isArray(body.items) ? body.items : [];
  }

  #send(method: string, path: string, body?: object, contentType?: string): Promise<ApiReply> {
    const op = `${method} ${path}`;
    const headers = {
      accept: 'application/json',
      ...(contentType === undefined ? {} : { 'content-type': contentType }),
    };
    return new Promise((resolve, reject) => {
      // A connection for each request: a server that restarts breaks those that are kept.
      const where = { socketPath: this.#socketPath, agent: false };
      const outgoing = request({ ...where, method, path, headers, timeout: 10_000 }, incoming => {
        let text = '';
        incoming.setEncoding('utf8');
        incoming.on('data', (chunk: string) => {
          text += chunk;
        });
        incoming.on('error', error => reject(new ApiError(op, 0, error.message, error)));
        incoming.on('end', () => {
          const status = incoming.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve({ body: JSON.parse(text), acceptedAt: epochMs() });
          else reject(new ApiError(op, status, `${status} ${messageOf(text)}`));
        });
      });
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 10 s')));
      outgoing.on('error', error => reject(new ApiError(op, 0, error.message, error)));
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}

/** The message of a Status object, or the text itself. */
function messageOf(text: string): string {
  return /"message":\s*"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] ?? text.slice(0, 200);
}
