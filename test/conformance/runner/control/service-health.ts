/** The group serviceHealthServer: a script of Services and counts, and what their health check ports answer after each line. */
import { once } from 'node:events';
import { get } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { text } from 'node:stream/consumers';
import { ServiceHealthServer } from '../../../../src/health-check/server.ts';
import { compared, type Result } from '../result.ts';
import { type Fields, isFields } from '../vector-files.ts';
import { casesOf } from './cases.ts';

interface Line {
  readonly op: string;
  readonly services?: Readonly<Record<string, number>>;
  readonly endpoints?: Readonly<Record<string, number>>;
  /** Status and count of each Service's port. */
  readonly expect: Readonly<Record<string, readonly [number, number]>>;
}

export async function playServiceHealthServer(group: Fields): Promise<Result[]> {
  const lines = casesOf<Line>(group, 'script');
  const ports = await freePorts(new Set(lines.flatMap(line => Object.values(line.services ?? {}))));
  let isProxyHealthy = true;
  let services = new Map<string, number>();
  await using server = new ServiceHealthServer({
    family: 'IPv4',
    isProxyHealthy: () => isProxyHealthy,
    onFailure: (service, port, reason) => {
      throw new Error(`${service} cannot have the port ${port}: ${reason}`);
    },
    log: { info: () => undefined, warn: () => undefined },
    nodeAddresses: () => [],
    watchAddresses: async () => ({ [Symbol.dispose]: () => undefined }),
  });
  server.open('all');
  const results: Result[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.op === 'syncServices') {
      services = new Map(Object.entries(line.services ?? {}).map(([name, port]) => [name, ports.get(port) ?? 0]));
      server.syncServices(services);
    } else if (line.op === 'syncEndpoints') server.syncEndpoints(new Map(Object.entries(line.endpoints ?? {})));
    else if (line.op === 'proxyUnhealthy' || line.op === 'proxyHealthy') isProxyHealthy = line.op === 'proxyHealthy';
    else throw new TypeError(`cannot play '${line.op}'`);
    await server.settled();
    const names = Object.keys(line.expect);
    const seen = await Promise.all(names.map(name => ask(services.get(name) ?? 0, group)));
    const wanted = names.map(name => answerOf(name, line.expect[name] ?? [0, 0], { isProxyHealthy, group }));
    results.push(compared(`line ${index + 1}, ${line.op}`, wanted, seen));
  }
  return results;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

/** What the group says of an answer with this status and count; `<…>` stands for a value of the Service. */
function answerOf(
  service: string,
  [status, count]: readonly [number, number],
  { isProxyHealthy, group }: { isProxyHealthy: boolean; group: Fields },
): Answer {
  const [ns, name] = service.split('/');
  const values: Fields = {
    '<ns>': ns,
    '<name>': name,
    '<n>': count,
    '<bool>': isProxyHealthy,
    '<localEndpoints>': String(count),
  };
  const filled = (value: unknown): unknown => {
    if (isFields(value)) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, filled(inner)]));
    return typeof value === 'string' && value in values ? values[value] : value;
  };
  return { status, headers: filled(group.headers) as Answer['headers'], body: filled(group.body) };
}

/** The answer, with those of its headers that the group speaks of. */
async function ask(port: number, { headers }: Fields): Promise<Answer> {
  const request = get({ host: '127.0.0.1', port, path: '/', agent: false });
  const [response] = await once(request, 'response');
  const names = Object.keys(isFields(headers) ? headers : {});
  return {
    status: response.statusCode,
    headers: Object.fromEntries(names.map(name => [name, response.headers[name.toLowerCase()]])),
    body: JSON.parse(await text(response)),
  };
}

/** A port of this machine that nobody has for each of the script's. */
async function freePorts(wanted: ReadonlySet<number>): Promise<ReadonlyMap<number, number>> {
  const holders = await Promise.all(
    [...wanted].map(async port => {
      const holder = createServer().listen(0, '127.0.0.1');
      await once(holder, 'listening');
      return { port, holder, free: (holder.address() as AddressInfo).port };
    }),
  );
  for (const { holder } of holders) holder.close();
  return new Map(holders.map(({ port, free }) => [port, free]));
}
