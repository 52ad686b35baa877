/** A plain HTTP client for the tests of the embedded API server: no Kubernetes library between test and wire. */
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import type { KubeObjectInput } from '../../../src/lab/apiserver/objects.ts';

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of all shapes
  readonly body: any;
}

export interface RequestOptions {
  readonly method?: string;
  readonly body?: unknown;
  readonly type?: string;
  readonly accept?: string;
  readonly token?: string;
}

function parseBody(text: string): unknown {
  return text.startsWith('{') ? JSON.parse(text) : undefined;
}

/** One request; the body is sent as JSON unless it is a text. */
export function call(url: string, path: string, options: RequestOptions = {}): Promise<Answer> {
  const { method = 'GET', body, type = 'application/json', accept, token = 'tok' } = options;
  const text = body === undefined || typeof body === 'string' ? (body ?? '') : JSON.stringify(body);
  const headers = {
    authorization: `Bearer ${token}`,
    'content-type': type,
    // Node leaves the length out for DELETE.
    'content-length': Buffer.byteLength(text),
    ...(accept === undefined ? {} : { accept }),
  };
  return new Promise((resolve, reject) => {
    const sent = request(url + path, { method, headers, agent: new Agent() }, response => {
      let received = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        received += chunk;
      });
      response.on('end', () => {
        const { statusCode: status = 0, headers: answered } = response;
        resolve({ status, headers: answered, text: received, body: parseBody(received) });
      });
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end(text);
  });
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into events of all shapes
export type WatchLine = { readonly type: string; readonly object: any };

/** A watch whose lines are collected as they come. */
export class WatchReader {
  readonly lines: WatchLine[] = [];
  readonly headers: IncomingHttpHeaders;
  readonly status: number;
  /** How the connection ended: `end` = complete answer, `aborted` = broken. */
  readonly ended: Promise<'end' | 'aborted'>;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];
  readonly #destroy: () => void;
  #rest = '';

  private constructor(response: import('node:http').IncomingMessage) {
    this.headers = response.headers;
    this.status = response.statusCode ?? 0;
    this.#destroy = () => response.destroy();
    response.setEncoding('utf8');
    response.on('data', (chunk: string) => {
      const texts = (this.#rest + chunk).split('\n');
      this.#rest = texts.pop() ?? '';
      for (const text of texts) this.lines.push(JSON.parse(text));
      this.#waiting = this.#waiting.filter(({ count, resolve }) => {
        if (this.lines.length >= count) resolve();
        return this.lines.length < count;
      });
    });
    this.ended = new Promise(resolve => {
      response.on('end', () => resolve('end'));
      response.on('error', () => resolve('aborted'));
    });
  }

  static open(url: string, path: string, accept?: string): Promise<WatchReader> {
    const headers = accept === undefined ? {} : { accept };
    return new Promise((resolve, reject) => {
      const sent = request(url + path, { headers, agent: new Agent() }, response => resolve(new WatchReader(response)));
      sent.on('error', reject);
      sent.end();
    });
  }

  /** Resolves when that many lines have come. */
  atLeast(count: number): Promise<void> {
    if (this.lines.length >= count) return Promise.resolve();
    return new Promise(resolve => {
      this.#waiting.push({ count, resolve });
    });
  }

  /** `TYPE name` of each line so far. */
  get summary(): string[] {
    return this.lines.map(({ type, object }) => `${type} ${object.metadata?.name ?? ''}`.trim());
  }

  /** What came of a line that hasn't ended. */
  get unfinished(): string {
    return this.#rest;
  }

  close(): void {
    this.#destroy();
  }
}

/** A Service with one port, as the vectors use it. */
export function service(name: string, spec: object = {}): KubeObjectInput {
  return { metadata: { name }, spec: { ports: [{ name: 'p', port: 80, targetPort: 8080 }], ...spec } };
}
