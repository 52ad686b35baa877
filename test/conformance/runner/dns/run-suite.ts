/** One suite: its objects in an API server, the real DNS server that watches it, its questions over real sockets. */
import { stringify } from 'yaml';
import { NODE } from '../../../../src/config/effective.ts';
import { parseConfiguration } from '../../../../src/config/load.ts';
import { NodeDns } from '../../../../src/dns/host/node-dns.ts';
import { type ApiServer, startApiServer } from '../../../../src/lab/apiserver/server.ts';
import { createLogger } from '../../../../src/log.ts';
import { startApiSource } from '../../../../src/watch/api-source.ts';
import { Store } from '../../../../src/watch/store.ts';
import { freePort } from '../../../fakes/free-port.ts';
import { failed, passed, type Result, skipped } from '../result.ts';
import { messageOf } from '../vector-files.ts';
import { ask, type Where } from './ask.ts';
import { complaints } from './judge.ts';
import { type DnsCase, type DnsSuite, lacking, type RawObject, type SuiteOptions } from './suite.ts';
import { dataOf, startUpstream } from './upstream.ts';

const NODE_NAME = 'node-a';

export interface SuiteContext {
  readonly serviceCIDRs: readonly string[];
}

/** A suite that can't be set up is one whose cases failed: others go on. */
export async function runSuite(suite: DnsSuite, context: SuiteContext): Promise<readonly Result[]> {
  try {
    return await runCases(suite, context);
  } catch (error) {
    return suite.cases.map(wanted => failed(nameOf(suite, wanted, 'udp'), messageOf(error)));
  }
}

async function runCases(suite: DnsSuite, context: SuiteContext): Promise<readonly Result[]> {
  const why = lacking(suite.options);
  if (why !== '') return suite.cases.map(wanted => skipped(nameOf(suite, wanted, 'udp'), why));
  await using api = await startApiServer({ host: '127.0.0.1', port: 0, serviceCIDRs: context.serviceCIDRs });
  await putAll(api, suite.objects);
  if (suite.options.synced === false) api.stall();
  for (const record of suite.options.upstream?.records ?? []) dataOf(record.type, record.rdata);
  await using server = await startServer(suite.options, api);
  const results: Result[] = [];
  for (const wanted of suite.cases) {
    for (const transport of transportsOf(wanted)) results.push(await runCase(suite, wanted, { transport, server }));
  }
  return results;
}

/** What has nothing to do with datagrams is asked by TCP as well. */
function transportsOf({ query, answerSubset, maxSize, flags, edns }: DnsCase): readonly ('udp' | 'tcp')[] {
  if (query?.transport !== undefined) return [query.transport];
  const isOfDatagrams = answerSubset ?? maxSize ?? flags?.tc ?? query?.edns ?? edns;
  return isOfDatagrams === undefined ? ['udp', 'tcp'] : ['udp'];
}

function nameOf(suite: DnsSuite, { qname, qtype }: DnsCase, transport: string): string {
  return `${suite.name}: ${qname} ${qtype} by ${transport}`;
}

async function runCase(
  suite: DnsSuite,
  wanted: DnsCase,
  { transport, server }: { readonly transport: 'udp' | 'tcp'; readonly server: Where },
): Promise<Result> {
  const name = nameOf(suite, wanted, transport);
  try {
    const found = complaints(wanted, await ask(wanted, transport, server));
    return found.length === 0 ? passed(name) : failed(name, found.join('\n'));
  } catch (error) {
    return failed(name, messageOf(error));
  }
}

/** Namespaces first; what is there already (`kubernetes`, the namespaces of every cluster) is brought into its form. */
async function putAll(api: ApiServer, objects: readonly RawObject[]): Promise<void> {
  const isNamespace = ({ kind }: RawObject) => kind === 'Namespace';
  for (const object of [...objects.filter(isNamespace), ...objects.filter(one => !isNamespace(one))]) {
    await put(api, object);
  }
}

const PLURALS: Readonly<Record<string, string>> = {
  Namespace: 'api/v1/namespaces',
  Node: 'api/v1/nodes',
  Service: 'api/v1/services',
  EndpointSlice: 'apis/discovery.k8s.io/v1/endpointslices',
  Pod: 'api/v1/pods',
};

async function put(api: ApiServer, object: RawObject): Promise<void> {
  const [, group = '', plural = ''] = /^(.*)\/([^/]+)$/.exec(PLURALS[object.kind] ?? '') ?? [];
  if (plural === '') throw new TypeError(`the kind ${object.kind} is unknown to this runner`);
  const { namespace, name } = object.metadata;
  const collection = `${api.url}/${group}/${namespace === undefined ? '' : `namespaces/${namespace}/`}${plural}`;
  const send = async (method: string, url: string, body: object) => {
    const response = await fetch(url, {
      method,
      headers: { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok && response.status !== 409) throw new Error(`${method} ${url}: ${await response.text()}`);
    await response.body?.cancel();
  };
  await send('POST', collection, object);
  if (object.status !== undefined) await send('PATCH', `${collection}/${name}/status`, { status: object.status });
}

/** Resolves when it answers from all objects, or without them where the suite wants that. */
async function startServer(options: SuiteOptions, api: ApiServer): Promise<Where & AsyncDisposable> {
  await using resources = new AsyncDisposableStack();
  const upstream = options.upstream === undefined ? undefined : resources.use(await startUpstream(options.upstream));
  const server = { address: '127.0.0.1', port: await freePort() };
  const { configuration } = parseConfiguration(configurationText(options, server, upstream?.port), 'the suite');
  const log = createLogger({ level: 'fatal' });
  const store = new Store();
  const stop = new AbortController();
  resources.defer(() => stop.abort());
  const dns = new NodeDns({ store, nodeName: NODE_NAME, configuration, log, networks: () => [] });
  resources.use(dns);
  store.onDirty(dirty => dns.note(dirty));
  resources.use(
    await startApiSource({
      server: api.url,
      nodeName: NODE_NAME,
      trimming: { keepsPodNames: options.endpointPodNames ?? false },
      optional: ['Namespace', ...(options.podMode === 'verified' ? (['Pod'] as const) : [])],
      store,
      log,
      signal: stop.signal,
    }),
  );
  await dns.configure(configuration);
  for (const { reason } of dns.missing())
    if (options.synced !== false && reason.includes('port')) throw new Error(reason);
  if (options.synced !== false) await dns.complete;
  const kept = resources.move();
  return { ...server, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

function configurationText(options: SuiteOptions, { address, port }: Where, upstreamPort: number | undefined): string {
  const { zones, podMode, ttl, namespaces, ignoreEmptyService, endpointPodNames, fallthrough, selfIPs } = options;
  return stringify({
    ...NODE,
    dns: {
      enabled: true,
      service: '',
      listen: [`${address}:${port}`],
      upstreams: upstreamPort === undefined ? [] : [`127.0.0.1:${upstreamPort}`],
      fallthrough: fallthrough ?? [],
      selfIPs: selfIPs ?? [],
      ...withoutUndefined({ zones, pods: podMode, ttl, namespaces, endpointPodNames }),
      ...withoutUndefined({ ignoreEmptyServices: ignoreEmptyService }),
    },
  });
}

function withoutUndefined(fields: object): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
