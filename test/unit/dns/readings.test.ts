import { describe, expect, it } from 'vitest';
import { sumReadings } from '../../../src/dns/readings.ts';
import { asking, CLIENT, DEFAULT_NAMESPACE, EngineLab, serviceChange } from './engine-lab.ts';

const WEB = 'web.default.svc.cluster.local';
const changes = [DEFAULT_NAMESPACE, serviceChange('web', { clusterIPs: ['10.96.0.10'] })];

describe('readings', () => {
  it('count questions and answers by what they are', async () => {
    const lab = new EngineLab({ changes });
    await lab.ask(WEB, 'A');
    await lab.ask(WEB, 'A', { isTcp: true, edns: { do: true } });
    await lab.ask(WEB, 'AAAA', { client: { address: 'fd00::1', port: 1 } });
    await lab.ask('nope.default.svc.cluster.local', 'UNKNOWN_9999');
    await lab.ask(WEB, 'A', { edns: { version: 1 } });
    expect(lab.engine.respond(Buffer.from('short'), CLIENT, false)).toBeUndefined();
    const readings = lab.engine.readings();
    expect(readings).toMatchObject({
      requests: { 'udp IPv4 A': 2, 'tcp IPv4 A': 1, 'udp IPv6 AAAA': 1, 'udp IPv4 other': 1 },
      responses: { NOERROR: 3, NXDOMAIN: 1, BADVERS: 1 },
      ...{ dnssecRequests: 1, malformed: 1, truncated: 0, faults: 0, workers: 1, synced: 1 },
      kept: { entries: 2, hits: 1, evictions: 0 },
    });
    const size = asking(WEB, 'A').length;
    expect(readings.requestSize.udp.counts.slice(0, 2)).toEqual([4, 0]);
    expect(readings.requestSize.tcp.sum).toBe(size + 11);
    expect(readings.responseSize.udp.counts.reduce((sum, count) => sum + count)).toBe(4);
  });

  it('measure one of 64 answers for all of them', async () => {
    const lab = new EngineLab({ changes });
    for (let i = 0; i < 128; i += 1) await lab.ask(WEB, 'A');
    const { counts } = lab.engine.readings().duration;
    expect(counts.reduce((sum, count) => sum + count)).toBe(128);
  });

  it('of several workers add up, and pass between threads', async () => {
    const labs = [new EngineLab({ changes }), new EngineLab({ changes, isSynced: false })] as const;
    await labs[0].ask(WEB, 'A');
    await labs[1].ask(WEB, 'A');
    await labs[1].ask(WEB, 'AAAA');
    const sum = sumReadings(labs.map(({ engine }) => structuredClone(engine.readings())));
    expect(sum).toMatchObject({
      requests: { 'udp IPv4 A': 2, 'udp IPv4 AAAA': 1 },
      responses: { NOERROR: 1, SERVFAIL: 2 },
      ...{ workers: 2, synced: 1 },
    });
    expect(sum?.requestSize.udp.counts[0]).toBe(3);
    expect(sum?.requestSize.udp.bounds).toEqual(labs[0].engine.readings().requestSize.udp.bounds);
    expect(sumReadings([])).toBeUndefined();
  });
});
