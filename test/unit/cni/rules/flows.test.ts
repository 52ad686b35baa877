import { describe, expect, test } from 'vitest';
import { filtersFor, PodFlows, staleJudge } from '../../../../src/cni/rules/flows.ts';
import { FakeConntrack, udpFlow } from '../../../fakes/conntrack.ts';

const NODE = '192.0.2.1';
const udp = { hostIP: '', hostPort: 53, protocol: 'udp' } as const;

describe('flows of pods', () => {
  test('D11 every flow that has a gone address at either end is stale, and no other', () => {
    const isStale = staleJudge({ addresses: ['10.88.0.2'], hostPorts: [] }, [NODE]);
    expect(isStale(udpFlow([NODE, 53], ['10.88.0.2', 53]))).toBe(true);
    expect(isStale(udpFlow(['10.88.0.2', 53]))).toBe(true);
    const flow = udpFlow(['9.9.9.9', 53]);
    expect(isStale({ ...flow, original: { ...flow.original, source: '10.88.0.2' } })).toBe(true);
    expect(isStale(flow)).toBe(false);
  });

  test("P06 a hostPort's clients are those that came to the node, not who passes it to the same port elsewhere", () => {
    const isStale = staleJudge({ addresses: [], hostPorts: [udp] }, [NODE]);
    expect(isStale(udpFlow([NODE, 53]))).toBe(true);
    expect(isStale(udpFlow([NODE, 54]))).toBe(false);
    expect(isStale(udpFlow(['9.9.9.9', 53]))).toBe(false);
    const other = staleJudge({ addresses: [], hostPorts: [{ ...udp, hostIP: '192.0.2.2' }] }, [NODE, '192.0.2.2']);
    expect([other(udpFlow([NODE, 53])), other(udpFlow(['192.0.2.2', 53]))]).toEqual([false, true]);
  });

  test('one walk, of UDP alone where that is enough', () => {
    expect(filtersFor({ addresses: ['10.88.0.2', '10.88.0.3'], hostPorts: [] })).toEqual([{ family: 'IPv4' }]);
    expect(filtersFor({ addresses: ['fd00::2'], hostPorts: [{ ...udp, hostIP: NODE }] })).toEqual([{ family: 'both' }]);
    expect(filtersFor({ addresses: [], hostPorts: [{ ...udp, hostIP: NODE }] })).toEqual([
      { family: 'IPv4', protocol: 17 },
    ]);
    expect(filtersFor({ addresses: [], hostPorts: [udp] })).toEqual([
      { family: 'IPv4', protocol: 17 },
      { family: 'IPv6', protocol: 17 },
    ]);
  });

  test('calls during a walk share the next one; an empty table is not walked', async () => {
    const table = new FakeConntrack();
    table.flows = [
      udpFlow(['10.88.0.2', 1]),
      udpFlow(['10.88.0.3', 1]),
      udpFlow(['10.88.0.4', 1]),
      udpFlow(['10.88.0.5', 1]),
    ];
    const flows = new PodFlows({ sweep: table.sweep, count: async () => table.flows.length, localAddresses: () => [] });
    const flush = (ip: string) => flows.flush({ addresses: [ip], hostPorts: [] });
    const gate = Promise.withResolvers<void>();
    table.gate = gate.promise;
    const first = flush('10.88.0.2');
    await expect.poll(() => table.dumps.length).toBe(1);
    const rest = [flush('10.88.0.3'), flush('10.88.0.4')];
    gate.resolve();
    expect(await Promise.all([first, ...rest])).toEqual([1, 2, 2]);
    expect(table.dumps).toHaveLength(2);
    expect(table.flows).toHaveLength(1);
    table.flows = [];
    expect(await flush('10.88.0.5')).toBe(0);
    expect(table.dumps).toHaveLength(2);
  });

  test('an error is everybody’s who shares the walk, and the next one works', async () => {
    const table = new FakeConntrack();
    const flows = new PodFlows({ sweep: table.sweep, count: async () => 1, localAddresses: () => [] });
    const gone = { addresses: ['10.88.0.2'], hostPorts: [] };
    table.failure = new Error('no');
    await expect(flows.flush(gone)).rejects.toThrow('no');
    table.failure = undefined;
    expect(await flows.flush(gone)).toBe(0);
  });
});
