/**
 * Hundreds of random changes of endpoints under traffic whose every answer is checked: nobody is sent to an endpoint that was removed more than
 * 100 ms before, nobody is refused while there was one all the time. TCP and UDP, new connections and UDP sockets that keep their port.
 * `CHANGES=500` is the long form; `SEED` repeats a run's changes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createLab, type Lab, type ProbeTarget } from '../../src/lab/lab.ts';
import { nodes } from '../../src/lab/layout.ts';
import { epochMs } from '../../src/lab/probe.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  awaitUsed,
  describeLab,
  endpoint,
  endpoint6,
  labName,
  serviceObject,
  servicesPath,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';
import { type EndpointSets, LagWatch, Timeline, unexplained } from './timeline.ts';

const { CHANGES, SEED } = process.env;
/** Mode and number of changes. */
const MODES = [
  ['nftables', Number(CHANGES ?? 200)],
  ['iptables', Number(CHANGES ?? 100)],
] as const;
const PERIOD_MS = 120;
const longestMs = (changes: number) => changes * PERIOD_MS + 60_000;
const [nodeA] = nodes;

const SERVICES = [1, 2].map(n => ({
  name: `s${n}`,
  clusterIP: `10.96.9.${n}`,
  clusterIP6: `fd00:10:96::9${n}`,
  ports: withNodePort(30_900 + n),
  nodePort: 30_900 + n,
}));
type Chosen = (typeof SERVICES)[number];

/** One state of a Service's endpoints: of each pod, whether it is one, and how. */
type Condition = 'absent' | 'ready' | 'draining';

/** New connections are for the ready ones, or else for those that drain (KEP-1669). */
function setsOf(pods: readonly PodState[], conditions: readonly Condition[]): EndpointSets {
  const having = (wanted: Condition) => pods.filter((_, i) => conditions[i] === wanted).map(({ name }) => name);
  const [ready, draining] = [having('ready'), having('draining')];
  return { usable: new Set(ready.length > 0 ? ready : draining), present: new Set([...ready, ...draining]) };
}

async function publish(lab: Lab, { name }: Chosen, conditions: readonly Condition[]): Promise<void> {
  const states = { ready: {}, draining: { ready: false, serving: true, terminating: true } } as const;
  const listed = (of: typeof endpoint) =>
    lab.pods.flatMap((pod, i) => {
      const condition = conditions[i] ?? 'absent';
      return condition === 'absent' ? [] : [of(pod, states[condition])];
    });
  await lab.api.patch(`${slicesPath()}/${name}`, { endpoints: listed(endpoint) });
  if (lab.hasIPv6) await lab.api.patch(`${slicesPath()}/${name}-v6`, { endpoints: listed(endpoint6) });
}

/** Who asks what, over which family. */
function* clients(lab: Lab, service: Chosen): Iterable<readonly [from: string, to: ProbeTarget]> {
  const pod = lab.pods[0]!.name;
  const common = { count: 1e9, concurrency: 1, timeoutMs: 500, pauseMs: 30 };
  const inside = { address: service.clusterIP, port: 80, ...common };
  const outside = { address: nodeA.address, port: service.nodePort, ...common };
  yield [pod, { ...inside, protocol: 'tcp' }];
  yield [pod, { ...inside, protocol: 'udp', keepsPort: true }];
  yield [nodeA.name, { ...inside, protocol: 'udp' }];
  yield ['client', { ...outside, protocol: 'tcp' }];
  yield ['client', { ...outside, protocol: 'udp', keepsPort: true }];
  if (!lab.hasIPv6) return;
  yield [pod, { ...inside, address: service.clusterIP6, protocol: 'tcp' }];
  yield ['client', { ...outside, address: nodeA.address6, protocol: 'udp', keepsPort: true }];
}

describeLab('random changes under traffic', () => {
  test.each(MODES)(
    '%s, %i changes: every answer and every refusal is what the endpoints of the time explain',
    { timeout: longestMs(Number(CHANGES ?? 200)) + 60_000 },
    async (mode, changes) => {
      // One daemon: two would take each other's CPU, and all clients go through this one.
      await using lab = await createLab({ name: labName('rnd'), mode, daemons: false });
      await lab.startDaemon(nodeA.name);
      const input = '*nat\nCOMMIT\n';
      await using lag = new LagWatch(() => lab.exec('client', ['iptables-nft-restore', '--noflush'], { input }));
      const timelines = new Map(SERVICES.map(service => [service, new Timeline()]));
      const set = async (service: Chosen, conditions: readonly Condition[]) => {
        const askedAt = epochMs();
        await publish(lab, service, conditions);
        timelines.get(service)?.changed(setsOf(lab.pods, conditions), askedAt, epochMs());
      };
      for (const service of SERVICES) {
        const { clusterIP6, ...ofIPv4 } = service;
        const { name, ports } = service;
        await lab.api.create(servicesPath(), serviceObject(lab.hasIPv6 ? { ...ofIPv4, clusterIP6 } : ofIPv4));
        await lab.api.create(slicesPath(), sliceObject({ name, ports, endpoints: [] }));
        const v6 = { name: `${name}-v6`, service: name, addressType: 'IPv6', ports, endpoints: [] };
        if (lab.hasIPv6) await lab.api.create(slicesPath(), sliceObject(v6));
        await set(service, ['ready', 'ready']);
        await awaitUsed(lab, { service: `default/${name}`, pods: lab.pods.slice(0, 2), on: [nodeA.name] });
        if (lab.hasIPv6)
          await awaitUsed(lab, {
            service: `default/${name}`,
            pods: lab.pods.slice(0, 2),
            family: 'IPv6',
            on: [nodeA.name],
          });
      }

      const running = await Promise.all(
        SERVICES.flatMap(service =>
          [...clients(lab, service)].map(async ([from, to]) => {
            const { report, stop } = await lab.startProbe(from, to);
            // A new UDP socket may get the port of an earlier one, whose flow the kernel remembers.
            const isOneFlow = to.protocol === 'udp';
            const what = `${service.name} from ${from}: ${to.protocol}${to.keepsPort === true ? ', same port' : ''} ${to.address}`;
            return { service, what, report, stop, isOneFlow };
          }),
        ),
      );
      // Each Service is empty once at least, so that there is something to refuse, and now and then by chance.
      const emptied = SERVICES.map(service => ({ service, conditions: lab.pods.map((): Condition => 'absent') }));
      const condition = fc.constantFrom<Condition>('absent', 'absent', 'ready', 'ready', 'draining');
      const change = fc.record({
        service: fc.constantFrom(...SERVICES),
        conditions: fc.array(condition, { minLength: lab.pods.length, maxLength: lab.pods.length }),
      });
      // The clients' programs have just started.
      await lag.quiet();
      const seed = Number(SEED ?? Date.now());
      const begun = performance.now();
      const made = [...emptied, ...fc.sample(change, { numRuns: changes, seed })];
      for (const [i, { service, conditions }] of made.entries()) {
        await delay(Math.max(0, begun + i * PERIOD_MS - performance.now()));
        await set(service, conditions);
      }
      const doneAt = epochMs();
      // What a change left behind would show by now.
      await delay(500);
      for (const { stop } of running) stop();
      const results = await Promise.all(
        running.map(async ({ report, ...rest }) => ({ ...rest, report: await report })),
      );
      const problems = results.flatMap(({ service, what, ...seen }) => {
        const lines = unexplained(seen, timelines.get(service)!, lag);
        return lines
          .slice(0, 5)
          .map(line => `${what}: ${line}${lines.length > 5 ? ` (and ${lines.length - 5} more)` : ''}`);
      });
      expect(problems, `seed ${seed}`).toEqual([]);
      for (const { what, report } of results) {
        expect(report.replies.length, what).toBeGreaterThan(100);
        expect(Math.max(...report.replies.map(({ at }) => at)), `${what}: traffic to the end`).toBeGreaterThan(
          doneAt - 1000,
        );
      }
      // The clients met both: Services with and without endpoints.
      expect(results.filter(({ report }) => report.failures.length > 0).length).toBeGreaterThan(results.length / 2);
    },
  );
});
