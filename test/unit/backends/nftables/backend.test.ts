import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { diff } from '../../../../src/backends/diff.ts';
import { normalise } from '../../../../src/backends/nftables/normalise.ts';
import { planAll } from '../../../../src/backends/route-changes.ts';
import type { ServiceRoute } from '../../../../src/endpoints/types.ts';
import type { Message } from '../../../../src/netfilter/attributes.ts';
import { NFT } from '../../../../src/netfilter/messages.ts';
import type { IPFamily } from '../../../../src/watch/objects.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';
import { endpoint } from '../../../fakes/objects.ts';
import { Node, routeTo } from './node.ts';
import { modelOf, routesOf, sourceRangesOf } from './random-routes.ts';

const isFull = (routes: ReadonlyMap<string, ServiceRoute>) => routes.size > 8;
const families = fc.constantFrom<IPFamily>('IPv4', 'IPv6');
const histories = families.chain(family =>
  fc.record({ family: fc.constant(family), states: fc.array(routesOf(family), { minLength: 1, maxLength: 5 }) }),
);

/** Tells of a set's first element in the last one's place too, for the first time that it has two. */
class MovingNfTables extends FakeNfTables {
  #hasMoved = false;

  override async dump(request: Buffer): Promise<readonly Message[]> {
    const messages = await super.dump(request);
    const isOfElements = messages.length > 1 && messages[0]!.type === NFT.newElement;
    if (!isOfElements || this.#hasMoved) return messages;
    this.#hasMoved = true;
    return [...messages.slice(0, -1), messages[0]!];
  }
}

describe('the nftables backend over a kernel in memory', { timeout: 30_000 }, () => {
  it('reads what it wrote, whatever it was', async () => {
    await fc.assert(
      fc.asyncProperty(histories, async ({ family, states }) => {
        const node = new Node(family);
        for (const routes of states) {
          expect(await node.set(routes)).toEqual([]);
          expect(await node.backend.read()).toEqual(node.plan);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('reads again when the kernel moved elements meanwhile, and told of some twice', async () => {
    const node = new Node('IPv4', new MovingNfTables());
    await node.set(routeTo([endpoint('10.244.0.1'), endpoint('10.244.0.2')]));
    expect(await node.backend.read()).toEqual(node.plan);
  });

  it('comes by steps to what a cold start makes', async () => {
    await fc.assert(
      fc.asyncProperty(histories, async ({ family, states }) => {
        const [live, cold] = [new Node(family), new Node(family)];
        for (const routes of states) await live.set(routes);
        await cold.set(states.at(-1)!);
        expect(normalise(live.plan)).toEqual(normalise(cold.plan));
        expect(live.kernel.unready).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });

  it('takes source ranges that narrow and widen, what they guard in one transaction', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(sourceRangesOf('IPv4'), { minLength: 2, maxLength: 6 }), async changes => {
        const node = new Node('IPv4');
        const pods = [endpoint('10.244.0.1')];
        for (const ranges of changes) {
          const port = { loadBalancerVIPs: ['203.0.113.7'], nodePort: 30_080 };
          const guarded = { ...port, loadBalancerSourceRanges: ranges, nodePortSourceRanges: ranges };
          const before = node.kernel.attempts;
          expect(await node.set(routeTo(pods, guarded))).toEqual([]);
          expect(await node.backend.read()).toEqual(node.plan);
          // New chains come in one before it, those that nothing uses now go in one behind it.
          expect(node.kernel.attempts - before).toBeLessThanOrEqual(3);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('needs one transaction a change, more where chains are new, something is not used any more, or they would be too large', async () => {
    const web = new Node('IPv4');
    const pods = (count: number) => [1, 2, 3].slice(0, count).map(i => endpoint(`10.244.0.${i}`));
    const commitsOf = async (count: number) => {
      const before = web.kernel.commits;
      await web.set(routeTo(pods(count)));
      return web.kernel.commits - before;
    };
    // lb-2 is new in the second, and stays.
    expect([await commitsOf(1), await commitsOf(2), await commitsOf(1)]).toEqual([1, 2, 1]);
    const replaced = web.kernel.commits;
    await web.set(routeTo([endpoint('10.244.0.9')]));
    expect(web.kernel.commits - replaced).toBe(1);
    const [routes] = fc.sample(routesOf('IPv4').filter(isFull), { numRuns: 1, seed: 7 });
    const node = new Node('IPv4');
    await node.set(routes!);
    expect(node.kernel.commits).toBe(1);
    await node.set(new Map());
    expect(node.kernel.commits).toBeLessThanOrEqual(3);
    const small = new Node('IPv4', new FakeNfTables({ batchBytes: 2000 }));
    expect(await small.set(routes!)).toEqual([]);
    expect(small.kernel.commits).toBeGreaterThan(3);
    expect(await small.backend.read()).toEqual(small.plan);
  });

  it('leaves out what the kernel refuses, by name, and programs the rest', async () => {
    await fc.assert(
      fc.asyncProperty(routesOf('IPv4'), async routes => {
        const node = new Node('IPv4');
        node.kernel.refuses = (set, { comment }) => set === 'services' && comment?.startsWith('default/s1') === true;
        const failures = await node.set(routes);
        expect(
          failures.map(({ key, error }) => `${key} ${error.message}`).filter(text => !text.startsWith('frontend/')),
        ).toEqual([]);
        const refused = new Set(failures.map(({ key }) => key));
        const wanted = planAll(node.backend, modelOf('IPv4', routes));
        const there = await node.backend.read();
        for (const [key, object] of wanted) {
          if (!refused.has(key)) expect(there.has(key), key).toBe(true);
          if (object.kind === 'frontend' && object.service.startsWith('default/s1') && object.chain !== undefined) {
            expect(refused.has(key), key).toBe(true);
          }
        }
        node.kernel.refuses = () => false;
        const current = await node.backend.read();
        const { failures: later } = await node.backend.apply(
          diff(current, wanted, { settle: node.backend.settle }),
          current,
        );
        expect(later).toEqual([]);
        expect(normalise(await node.backend.read())).toEqual(normalise(wanted));
      }),
      { numRuns: 20 },
    );
  });

  it('gives up at once when somebody deleted the table: what it holds must be read', async () => {
    const [routes] = fc.sample(routesOf('IPv4').filter(isFull), { numRuns: 1, seed: 3 });
    const node = new Node('IPv4');
    await node.set(routes!);
    node.kernel.clear();
    const before = node.kernel.attempts;
    await expect(node.set(new Map())).rejects.toThrow('somebody deleted the table');
    expect(node.kernel.attempts - before).toBeLessThan(3);
  });

  it('never leaves what replaces an element to another transaction', async () => {
    const [few, many] = fc.sample(routesOf('IPv4').filter(isFull), { numRuns: 2, seed: 11 });
    const node = new Node('IPv4', new FakeNfTables({ batchBytes: 600 }));
    await node.set(few!);
    const wanted = planAll(node.backend, modelOf('IPv4', many!));
    const stay = [...node.plan].filter(([key, { kind }]) => kind === 'frontend' && wanted.has(key)).map(([key]) => key);
    node.kernel.afterCommit = async () => {
      const there = await node.backend.read();
      for (const key of stay) {
        const object = there.get(key);
        if (object?.kind !== 'frontend') throw new Error(`${key} is gone between two transactions`);
        if (object.chain !== undefined) expect(object.endpoints[0] ?? object.inside?.endpoints[0], key).not.toBe('');
      }
    };
    expect(await node.set(many!)).toEqual([]);
    expect(node.kernel.commits).toBeGreaterThan(3);
  });

  it('makes everything anew in one transaction where a set has another form', async () => {
    const [routes] = fc.sample(routesOf('IPv4').filter(isFull), { numRuns: 1, seed: 5 });
    const node = new Node('IPv4');
    await node.set(routes!);
    const old = node.plan.get('set/cluster-ips');
    const current = new Map(node.plan);
    if (old?.kind !== 'set') throw new Error('no set');
    const wanted = new Map(node.plan);
    wanted.set('set/cluster-ips', { kind: 'set', spec: { ...old.spec, size: 7 } });
    const before = node.kernel.commits;
    const { failures } = await node.backend.apply(diff(current, wanted, { settle: node.backend.settle }), current);
    expect(failures).toEqual([]);
    expect(node.kernel.commits).toBe(before + 1);
    expect(await node.backend.read()).toEqual(wanted);
  });
});
