/** A real NodeDns with real workers and sockets on loopback, a store in place of an API server, and a stream of questions. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { Worker } from 'node:worker_threads';
import packet from 'dns-packet';
import { stringify } from 'yaml';
import type { Configuration } from '../../../../src/config/configuration.ts';
import { NODE } from '../../../../src/config/effective.ts';
import { parseConfiguration } from '../../../../src/config/load.ts';
import type { DnsTimes } from '../../../../src/dns/host/metrics.ts';
import { NodeDns } from '../../../../src/dns/host/node-dns.ts';
import type { Logger } from '../../../../src/log.ts';
import { Store } from '../../../../src/watch/store.ts';
import { freePort } from '../../../fakes/free-port.ts';
import { service } from '../../../fakes/objects.ts';

const NODE_NAME = 'node-a';
const KINDS = ['Service', 'EndpointSlice', 'Node', 'ServiceCIDR', 'Namespace', 'Pod'] as const;
const PATIENCE_MS = 2000;
export const WEB = 'web.default.svc.cluster.local';

/** What was logged, in place of a log. */
export class LogLines {
  readonly lines: string[] = [];
  readonly log: Logger;

  constructor() {
    const note = (_fields: unknown, line: string) => this.lines.push(line);
    const log = { info: note, warn: note, error: note, debug: () => undefined, child: () => log };
    this.log = log as unknown as Logger;
  }

  count(pattern: RegExp): number {
    return this.lines.filter(line => pattern.test(line)).length;
  }
}

export type DnsFields = Readonly<Record<string, unknown>>;

export class NodeDnsLab implements AsyncDisposable {
  readonly port: number;
  readonly store = new Store();
  readonly logged = new LogLines();
  readonly dns: NodeDns;
  /** All that were ever started here. */
  readonly workers: Worker[] = [];
  readonly #onWorker = (worker: Worker) => this.workers.push(worker);

  private constructor(port: number, fields: DnsFields, times?: DnsTimes) {
    this.port = port;
    process.on('worker', this.#onWorker);
    const { store } = this;
    const configuration = this.configuration(fields);
    const common = { store, nodeName: NODE_NAME, configuration, log: this.logged.log, networks: () => [] };
    this.dns = new NodeDns(times === undefined ? common : { ...common, times });
    store.onDirty(dirty => this.dns.note(dirty));
  }

  static async start(fields: DnsFields = {}, times?: DnsTimes): Promise<NodeDnsLab> {
    const lab = new NodeDnsLab(await freePort(), fields, times);
    await lab.dns.configure(lab.configuration(fields));
    return lab;
  }

  /** One that has its Service, and answers. */
  static async startSynced(fields: DnsFields = {}, times?: DnsTimes): Promise<NodeDnsLab> {
    const lab = await NodeDnsLab.start(fields, times);
    lab.fill();
    await lab.dns.complete;
    return lab;
  }

  configuration(fields: DnsFields = {}): Configuration {
    const listen = [`127.0.0.1:${this.port}`];
    const dns = { enabled: true, service: '', listen, upstreams: [], workers: 1, ...fields };
    return parseConfiguration(stringify({ ...NODE, dns }), 'the test').configuration;
  }

  configure(fields: DnsFields = {}): Promise<void> {
    return this.dns.configure(this.configuration(fields));
  }

  /** @param without a kind whose list isn't complete */
  fill(without?: (typeof KINDS)[number]): void {
    const { store } = this;
    store.announce(['Service', 'EndpointSlice', 'Node']);
    store.replace('Service', [service({ clusterIPs: ['10.96.0.10'] })]);
    store.replace('EndpointSlice', []);
    store.replace('Node', []);
    store.replace('ServiceCIDR', []);
    store.replace('Namespace', [{ name: 'default' }]);
    store.replace('Pod', [{ namespace: 'default', name: 'web-1', ips: ['10.244.1.2'] }]);
    for (const kind of KINDS) if (kind !== without) store.markSynced(kind);
  }

  ask(name: string): Promise<string> {
    return ask(name, this.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('worker', this.#onWorker);
    await this.dns[Symbol.asyncDispose]();
  }
}

const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

/** Its first address, or the code where it has none, or 'no answer'. From a port of its own. */
export async function ask(name: string, port: number): Promise<string> {
  const socket = createSocket('udp4');
  try {
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    const id = Math.floor(Math.random() * 65_536);
    const answered = once(socket, 'message', { signal: AbortSignal.timeout(PATIENCE_MS) });
    socket.send(packet.encode({ type: 'query', id, questions: [{ type: 'A', name }] }));
    const [bytes] = (await answered) as [Buffer];
    const { answers = [] } = packet.decode(bytes);
    const [first] = answers;
    if (bytes.readUInt16BE(0) !== id) return 'another id';
    return first?.type === 'A' ? first.data : (RCODES[bytes[3]! & 15] ?? 'another code');
  } catch {
    return 'no answer'; // or nobody listens there
  } finally {
    socket.close();
  }
}

/** Asks for the same again and again, one question a millisecond or so. */
export class QuestionStream {
  readonly #results = new Map<string, number>();
  readonly #asking: Promise<void>;
  #isStopped = false;

  constructor(port: number, name = WEB) {
    this.#asking = this.#run(port, name);
  }

  /** How often there was which result. */
  async stop(): Promise<Readonly<Record<string, number>>> {
    this.#isStopped = true;
    await this.#asking;
    return Object.fromEntries(this.#results);
  }

  async #run(port: number, name: string): Promise<void> {
    const all = new Set<Promise<void>>();
    while (!this.#isStopped) {
      const asked = ask(name, port).then(result => {
        this.#results.set(result, (this.#results.get(result) ?? 0) + 1);
        all.delete(asked);
      });
      all.add(asked);
      await delay(1);
    }
    await Promise.all(all);
  }
}
