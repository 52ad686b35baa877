import { Agent, type IncomingMessage, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export interface ApiCall {
  readonly method: 'POST' | 'PATCH';
  readonly path: string;
  readonly body: unknown;
}

/** Requests to the API server, over connections that stay open. */
export class ApiCaller implements Disposable {
  readonly #url: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 8 });

  constructor(url: string) {
    this.#url = url;
  }

  /** The answer's object. Rejects when the API server refuses. */
  async call({ method, path, body }: ApiCall): Promise<unknown> {
    const types = { POST: 'application/json', PATCH: 'application/merge-patch+json' };
    const headers = { 'content-type': Array.isArray(body) ? 'application/json-patch+json' : types[method] };
    const answer = Promise.withResolvers<IncomingMessage>();
    const sent = request(this.#url + path, { method, agent: this.#agent, headers }, answer.resolve);
    sent.on('error', answer.reject);
    sent.end(JSON.stringify(body));
    const response = await answer.promise;
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString('utf8');
    if ((response.statusCode ?? 0) >= 300) throw new Error(`${method} ${path}: ${response.statusCode} ${text}`);
    return JSON.parse(text);
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** Replaces one endpoint of one slice after the other, at a steady pace. */
export class SliceChanger {
  readonly #url: string;
  readonly #services: number;
  count = 0;

  constructor(url: string, services: number) {
    this.#url = url;
    this.#services = services;
  }

  async run(perSecond: number, stop: AbortSignal): Promise<void> {
    using api = new ApiCaller(this.#url);
    const startedAt = performance.now();
    const calls = new Set<Promise<unknown>>();
    while (!stop.aborted) {
      const due = ((performance.now() - startedAt) / 1000) * perSecond;
      for (; this.count < due; this.count += 1) {
        const call = api.call(this.#change(this.count));
        calls.add(call);
        void call.then(() => calls.delete(call));
      }
      await delay(2);
    }
    await Promise.all(calls);
  }

  #change(n: number): ApiCall {
    const i = n % this.#services;
    const path = `/apis/discovery.k8s.io/v1/namespaces/bench-${i % 10}/endpointslices/svc-${i}`;
    const value = `10.64.${(n >> 8) & 255}.${n & 255}`;
    return { method: 'PATCH', path, body: [{ op: 'replace', path: '/endpoints/0/addresses/0', value }] };
  }
}
