import { afterAll, beforeAll, expect, test } from 'vitest';
import { type DumpState, isDumpState } from '../../src/dump/state.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes } from '../../src/lab/layout.ts';
import { servedMode } from '../../src/lab/served-mode.ts';
import { awaitUsed, describeLab, labName } from './daemon-lab.ts';

const [node] = nodes;

describeLab('dump beside a daemon in mode nftables', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: labName('nftd'), pods: 3, mode: 'nftables' });
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
  });
  afterAll(async () => {
    await lab.close();
  });

  async function dump(): Promise<DumpState> {
    const { stdout } = await lab.exec(node.name, ['kproxy-ts', 'dump', '-o', 'json']);
    const state: unknown = JSON.parse(stdout);
    if (!isDumpState(state)) throw new Error('no dump');
    return state;
  }

  const statesOf = ({ families }: DumpState) => [
    ...new Set(families.flatMap(({ services, shared }) => [...services, shared].map(({ state }) => state))),
  ];

  test('finds all of it there, also when endpoints have left their slots', async () => {
    expect(await dump()).toMatchObject({ source: 'daemon', mode: 'nftables' });
    expect(await servedMode(lab.name, node.name)).toBe('nftables');
    expect(statesOf(await dump())).toEqual(['ok']);
    await lab.removePod(lab.pods[0]!.name);
    await awaitUsed(lab, { service: 'default/web', pods: lab.pods });
    expect(statesOf(await dump())).toEqual(['ok']);
  });

  test('knows from the kernel alone what the daemon left', async () => {
    const known = await dump();
    await lab.stopDaemon(node.name, 'SIGKILL');
    const left = await dump();
    expect(left).toMatchObject({ source: 'kernel', mode: 'nftables' });
    expect(statesOf(left)).toEqual(['unchecked']);
    const told = ({ families }: DumpState) =>
      families.map(({ family, services }) => [
        family,
        services.map(({ name, port, protocol, addresses, rules }) => [name, port, protocol, addresses, rules.length]),
      ]);
    expect(told(left)).toEqual(told(known));
  });
});
