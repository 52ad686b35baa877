import { describe, expect, it } from 'vitest';
import { Access } from '../../../src/dns/access.ts';
import { asking, DEFAULT_NAMESPACE, EngineLab, serviceChange } from './engine-lab.ts';

const RANGES = ['10.244.0.0/16', 'fd00::/48', 'fe80::/10'];

describe('access', () => {
  it.each([
    ['10.244.3.4', 'admitted'],
    ['10.245.0.1', 'refused'],
    ['fd00::7', 'admitted'],
    ['fd01::7', 'refused'],
    ['fe80::1%eth0', 'admitted'],
    ['', 'refused'],
    ['not an address', 'refused'],
  ] as const)('%s is %s', (address, admission) => {
    expect(new Access({ clients: RANGES, unlimited: [], perSecond: 0 }).admit(address, 0)).toBe(admission);
  });

  it('lets a client ask a second’s questions at once, and then so many a second', () => {
    const access = new Access({ clients: RANGES, unlimited: ['10.244.0.9/32'], perSecond: 10 });
    const asked = (nowMs: number, count: number, client = '10.244.0.1') =>
      Array.from({ length: count }, () => access.admit(client, nowMs)).filter(each => each === 'admitted').length;
    expect([asked(0, 50), asked(100, 50), asked(1100, 50), asked(100_000, 50)]).toEqual([10, 1, 10, 10]);
    expect(access.admit('10.244.0.2', 100_000)).toBe('admitted');
    expect(asked(0, 50, '10.244.0.9')).toBe(50);
  });

  it('takes no range that is none', () => {
    expect(() => new Access({ clients: ['10.0.0.0/33'], unlimited: [], perSecond: 0 })).toThrow(TypeError);
  });
});

describe('an engine', () => {
  const changes = [DEFAULT_NAMESPACE, serviceChange('web', { clusterIPs: ['10.96.0.10'] })];
  const stranger = { address: '203.0.113.9', port: 5353 };
  const friend = { address: '10.244.0.9', port: 5353 };
  const question = asking('web.default.svc.cluster.local', 'A');

  it('refuses strangers with no more bytes than they sent, and answers others', async () => {
    const lab = new EngineLab({ changes, clients: RANGES });
    const { bytes, rcode } = await lab.ask('web.default.svc.cluster.local', 'A', { client: stranger, edns: {} });
    expect([rcode, bytes.length]).toEqual([5, asking('web.default.svc.cluster.local', 'A', { edns: {} }).length]);
    expect((await lab.ask('web.default.svc.cluster.local', 'A', { client: friend })).data).toEqual(['10.96.0.10']);
    expect(lab.engine.readings()).toMatchObject({ refused: 1, responses: { REFUSED: 1, NOERROR: 1 } });
  });

  it('says nothing to who asks too much by UDP, refuses him by TCP, and counts it', () => {
    const lab = new EngineLab({ changes, clients: RANGES, perSecond: 5 });
    const asked = Array.from({ length: 20 }, (_, i) => lab.engine.respond(question, friend, i % 2 === 0));
    const codes = asked.map(answer => (answer instanceof Buffer ? answer[3]! & 15 : 'none'));
    expect(codes.map((code, i) => (i % 2 === 0 ? code : [code]))).toEqual([
      ...[0, [0], 0, [0], 0],
      ...Array.from({ length: 15 }, (_, i) => (i % 2 === 0 ? ['none'] : 5)),
    ]);
    expect(lab.engine.readings().rateLimited).toBe(15);
    lab.nowMs += 1000;
    expect(lab.engine.respond(question, friend, false)).toBeInstanceOf(Buffer);
  });
});
