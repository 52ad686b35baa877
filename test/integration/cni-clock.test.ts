import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CniNode, DUAL } from './cni-node.ts';

const DAY_MS = 86_400_000;
/** Whoever reads the clock of the day finds it two days away from where it was the last time; in every thread. */
const JUMPING = `const now = Date.now;
let shift = ${DAY_MS};
Date.now = () => now() + (shift = -shift);`;

describe('a clock of the day that jumps', () => {
  let node: CniNode;
  beforeAll(async () => {
    node = await CniNode.start('clock', DUAL);
    const clock = join(node.directory, 'clock.mjs');
    await writeFile(clock, JUMPING);
    node.prepare = `export NODE_OPTIONS='--import ${clock}'`;
    await restart();
  });
  afterAll(() => node[Symbol.asyncDispose]());

  const restart = async () => {
    await node.stopAgent();
    await node.startAgent();
  };
  const addressesOf = async (state: string) =>
    (await node.leases()).filter(lease => lease.state === state).map(({ address }) => address);

  test('F12: leases, rests and the sweep go on as before, and an ADD that waits for its addresses waits for them', async () => {
    const [one, two] = await Promise.all(['one', 'two'].map(name => node.pod(name)));
    const ipsOf = async (pod: string, id: string) => {
      const { result } = await node.add(pod, { id, config: { enabledad: true } });
      return result.ips!.map(({ address }) => address.replace(/\/.*/, ''));
    };
    const first = await ipsOf(one!, 'c1');
    const [lease] = await node.leases();
    expect(Math.abs(Date.parse(lease!.since) - Date.now())).toBeGreaterThan(DAY_MS / 2); // it does jump

    expect((await node.del(one!, { id: 'c1' })).status).toBe(0);
    const second = await ipsOf(two!, 'c2');
    expect(second.filter(ip => first.includes(ip))).toEqual([]);
    await restart();
    expect([await addressesOf('ready'), await addressesOf('resting')]).toEqual([second, first]);

    const third = await ipsOf(one!, 'c3');
    await node.removePod(one!);
    await restart(); // with a sweep
    expect(await addressesOf('ready')).toEqual(second);
    expect(await addressesOf('resting')).toEqual(expect.arrayContaining([...first, ...third]));
    expect((await node.del(two!, { id: 'c2' })).status).toBe(0);
    expect(await node.residue()).toEqual([]);
  });
});
