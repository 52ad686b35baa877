/**
 * nf-tables-main.ts: run in a network namespace of its own by nf-tables.test.ts. The nftables backend over the real kernel, and what others do to its
 * table; prints what was found as JSON.
 */
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import type { Plan } from '../../src/backends/backend.ts';
import { diff } from '../../src/backends/diff.ts';
import { createNftablesBackend } from '../../src/backends/nftables/backend.ts';
import { ForeignChanges } from '../../src/backends/nftables/foreign-changes.ts';
import { normalise } from '../../src/backends/nftables/normalise.ts';
import type { NftObject } from '../../src/backends/nftables/objects.ts';
import { missingFeature } from '../../src/backends/nftables/support.ts';
import { changesSince, planAll } from '../../src/backends/route-changes.ts';
import type { Model, ServiceRoute } from '../../src/endpoints/types.ts';
import { run } from '../../src/linux/exec.ts';
import { NftSocket } from '../../src/linux/nf-tables.ts';
import { createLogger } from '../../src/log.ts';
import type { IPFamily } from '../../src/watch/objects.ts';
import { FakeNfTables } from '../fakes/nf-tables.ts';
import { endpoint, NFTABLES_OPTIONS, NFTABLES_OPTIONS_V6 } from '../fakes/objects.ts';
import { answersTo, rangeBatches } from '../fakes/range-batches.ts';
import { routeTo } from '../unit/backends/nftables/node.ts';
import { modelOf, routesOf } from '../unit/backends/nftables/random-routes.ts';

const log = createLogger({ level: 'fatal' });
const nft = async (...args: string[]) => (await run('nft', args)).stdout;
const problems: string[] = [];
const step = (what: string) => process.env.VERBOSE && console.error(what, Math.round(performance.now()));
const check = (isTrue: boolean, what: string) => {
  if (!isTrue) problems.push(what);
};

class Node {
  readonly family: IPFamily;
  readonly kernel = new NftSocket();
  readonly backend: ReturnType<typeof createNftablesBackend>;
  plan: Plan<NftObject> = new Map();
  #model: Model | undefined;

  constructor(family: IPFamily, foreign?: ForeignChanges) {
    this.family = family;
    const options = family === 'IPv4' ? NFTABLES_OPTIONS : NFTABLES_OPTIONS_V6;
    this.backend = createNftablesBackend(() => options, { family, kernel: this.kernel, ...(foreign && { foreign }) });
  }

  async set(routes: ReadonlyMap<string, ServiceRoute>): Promise<readonly string[]> {
    const model = modelOf(this.family, routes, this.#model);
    const changes =
      this.#model === undefined
        ? diff(this.plan, planAll(this.backend, model), { settle: this.backend.settle })
        : changesSince(this.backend, { previous: this.#model, current: this.plan, model });
    this.#model = model;
    const { plan, failures } = await this.backend.apply(changes, this.plan);
    this.plan = plan;
    return failures.map(({ key, error }) => `${key}: ${error.message}`);
  }

  close(): Promise<void> {
    return this.backend.close({ cleanup: true });
  }
}

/** Histories of Services in the kernel: read as written, by steps as by a cold start, and nft can print it. */
async function histories(family: IPFamily, seed: number): Promise<void> {
  const table = family === 'IPv4' ? 'ip' : 'ip6';
  for (const states of fc.sample(fc.array(routesOf(family), { minLength: 2, maxLength: 4 }), { numRuns: 6, seed })) {
    const live = new Node(family);
    for (const routes of states) problems.push(...(await live.set(routes)));
    check(
      isDeepStrictEqual(await live.backend.read(), live.plan),
      `${family}: read otherwise than written, seed ${seed}`,
    );
    const text = await nft('list', 'table', table, 'kproxy-ts');
    const services = [...states.at(-1)!.values()].filter(({ endpoints }) => endpoints.length > 0);
    for (const {
      servicePort: { name },
    } of services) {
      check(text.includes(`comment "default/${name.name}`), `${family}: nft doesn't show ${name.name}`);
    }
    await live.close();
    const cold = new Node(family);
    problems.push(...(await cold.set(states.at(-1)!)));
    check(
      isDeepStrictEqual(normalise(live.plan), normalise(cold.plan)),
      `${family}: not as a cold start, seed ${seed}`,
    );
    await cold.close();
  }
}

/** Read straight after a commit, when the kernel still spreads a set's elements over more buckets. */
async function growth(): Promise<void> {
  const numbers = Array.from({ length: 100 }, (_, i) => i + 1);
  const endpoints = numbers.slice(0, 10).map(i => endpoint(`10.244.0.${i}`));
  const nameOf = (i: number) => ({ namespace: 'default', name: `s${i}`, port: '', protocol: 'TCP' }) as const;
  const routes = new Map(numbers.flatMap(i => [...routeTo(endpoints, { name: nameOf(i), clusterIP: `10.96.0.${i}` })]));
  for (let round = 0; round < 60; round += 1) {
    const node = new Node('IPv4');
    problems.push(...(await node.set(routes)));
    check(
      isDeepStrictEqual(await node.backend.read(), node.plan),
      `growth: read otherwise than written, round ${round}`,
    );
    await node.close();
  }
}

const full = (family: IPFamily, seed: number) =>
  fc.sample(
    routesOf(family).filter(routes => [...routes.values()].filter(({ endpoints }) => endpoints.length > 1).length > 5),
    { numRuns: 1, seed },
  )[0]!;

/** The kernel in memory, which the unit tests have, answers as the real one does. */
async function ranges(seed: number): Promise<void> {
  using kernel = new NftSocket();
  for (const batches of fc.sample(rangeBatches, { numRuns: 100, seed })) {
    const [real, fake] = [await answersTo(kernel, batches), await answersTo(new FakeNfTables(), batches)];
    const at = real.findIndex((answer, i) => answer !== fake[i]);
    const script = JSON.stringify(batches.slice(0, at + 1));
    check(at === -1, `ranges: the kernel says "${real[at]}", in memory it's "${fake[at]}", of ${script}`);
  }
}

/** Somebody's element is where one of ours has to go: the Service is left out by name, the others are programmed; read, it's repaired. */
async function isolation(seed: number): Promise<void> {
  const node = new Node('IPv4');
  await node.set(new Map());
  await nft(
    'add',
    'element',
    'ip',
    'kproxy-ts',
    'services',
    '{ 10.96.0.1 . tcp . 80 : drop, 10.96.0.1 . udp . 80 : drop }',
  );
  const routes = full('IPv4', seed);
  const wanted = planAll(node.backend, modelOf('IPv4', routes));
  const inTheWay = ['frontend/10.96.0.1 TCP 80', 'frontend/10.96.0.1 UDP 80'].filter(key => {
    const object = wanted.get(key);
    return object?.kind === 'frontend' && object.chain !== undefined;
  });
  const failures = await node.set(routes);
  const refused = failures.map(text => text.replace(/: .*/, ''));
  check(isDeepStrictEqual(refused, inTheWay), `isolation: refused ${failures.join('; ')}, not ${inTheWay.join('; ')}`);
  const current = await node.backend.read();
  for (const key of wanted.keys()) check(refused.includes(key) || current.has(key), `isolation: ${key} isn't there`);
  const { failures: later } = await node.backend.apply(diff(current, wanted, { settle: node.backend.settle }), current);
  check(later.length === 0, 'isolation: a reading does not repair');
  check(
    isDeepStrictEqual(normalise(await node.backend.read()), normalise(wanted)),
    'isolation: not as wanted afterwards',
  );
  await node.close();
}

const FOREIGN: readonly (readonly string[])[] = [
  ['add', 'element', 'ip', 'kproxy-ts', 'cluster-ips', '{ 10.96.99.99 }'],
  ['flush', 'set', 'ip', 'kproxy-ts', 'cluster-ips'],
  ['insert', 'rule', 'ip', 'kproxy-ts', 'dispatch', 'accept'],
  ['flush', 'chain', 'ip', 'kproxy-ts', 'nat-prerouting'],
  ['delete', 'table', 'ip', 'kproxy-ts'],
];
const INNOCENT: readonly (readonly string[])[] = [
  ['add', 'table', 'ip', 'others'],
  ['add', 'chain', 'ip', 'others', 'dispatch'],
  ['add', 'table', 'ip6', 'kproxy-ts'],
  ['delete', 'table', 'ip', 'others'],
];

/** Others' changes of our table are noticed, ours and those of other tables aren't. */
async function events(seed: number): Promise<void> {
  const foreign = new ForeignChanges(log);
  const node = new Node('IPv4', foreign);
  let told = 0;
  let wake: () => void = () => undefined;
  const next = () => new Promise<void>(resolve => (wake = resolve));
  await node.backend.read();
  await node.backend.follow?.(() => {
    told += 1;
    wake();
  });
  await node.set(full('IPv4', seed));
  for (const args of INNOCENT) await nft(...args);
  // Events come in order: this one is behind all of those.
  const noticed = next();
  await nft('add', 'element', 'ip', 'kproxy-ts', 'cluster-ips', '{ 10.96.99.98 }');
  await noticed;
  check(told === 1, `events: told ${told} times of one foreign change`);
  step('events: innocent');
  for (const args of FOREIGN) {
    step(args.join(' '));
    const isThere = next();
    const current = await node.backend.read();
    check((await node.backend.hasDrifted?.(current)) === false, 'events: suspect after it was read');
    await nft(...args);
    await isThere;
    check((await node.backend.hasDrifted?.(current)) === true, `events: not suspect after ${args.join(' ')}`);
  }
  await node.close();
}

/** More than is kept for us, of somebody else's table: nobody knows what else there was. */
async function lostEvents(): Promise<void> {
  const foreign = new ForeignChanges(log, 20_000);
  const node = new Node('IPv4', foreign);
  const { backend } = node;
  const current = await backend.read();
  await backend.follow?.(() => undefined);
  check((await backend.hasDrifted?.(current)) === false, 'lost events: suspect at first');
  const elements = Array.from({ length: 50_000 }, (_, i) => `10.0.${(i >> 8) & 255}.${i & 255}`).join(',');
  await run('nft', ['-f', '-'], {
    input: `table ip others { set s { type ipv4_addr; elements = { ${elements} }; }; }\n`,
  });
  check((await backend.hasDrifted?.(current)) === true, 'lost events: not suspect');
  const again = await backend.read();
  check((await backend.hasDrifted?.(again)) === false, 'lost events: suspect for ever');
  check((await backend.hasDrifted?.(current)) === true, 'lost events: what was read before them is trusted');
  await nft('delete', 'table', 'ip', 'others');
  await node.close();
}

async function probing(): Promise<void> {
  using kernel = new NftSocket();
  for (const family of ['IPv4', 'IPv6'] as const) {
    const missing = await missingFeature(kernel, family);
    check(missing === undefined, `${family}: ${missing}`);
  }
  check((await nft('list', 'tables')).trim() === '', 'the trial left a table');
}

const seed = Number(process.env.SEED ?? Date.now());
step('start');
await probing();
step('probed');
await ranges(seed);
step('ranges');
for (const family of ['IPv4', 'IPv6'] as const) await histories(family, seed);
step('histories');
await growth();
step('growth');
await isolation(seed);
step('isolation');
await events(seed);
step('events');
await lostEvents();
process.stdout.write(`${JSON.stringify({ seed, problems })}\n`);
