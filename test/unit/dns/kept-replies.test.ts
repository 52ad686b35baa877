import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KeptReplies } from '../../../src/dns/kept-replies.ts';
import { DEFAULT_NAMESPACE, EngineLab, serviceChange } from './engine-lab.ts';

const encoded = (bytes: Buffer) => ({ bytes, turn: undefined, serialAt: 0, echoes: [] });
const about = (key: string, subject: string) => ({ key, subject, nowMs: 0 });

describe('kept replies', () => {
  it('are found with their own bytes, or not at all, however many there are', () => {
    const keep = fc.record({ key: fc.nat(200), length: fc.integer({ min: 1, max: 120 }) });
    const forget = fc.record({ forget: fc.nat(20) });
    fc.assert(
      fc.property(fc.array(fc.oneof({ weight: 6, arbitrary: keep }, forget), { maxLength: 400 }), steps => {
        const kept = new KeptReplies({ ringBytes: 1000, mostReplies: 30 });
        const bytesOf = new Map<string, Buffer>();
        for (const step of steps) {
          if ('forget' in step) {
            kept.forget(`s${step.forget}`);
            for (const key of bytesOf.keys())
              if (Number(key) % 20 === step.forget) expect(kept.get(key)).toBeUndefined();
            continue;
          }
          const key = String(step.key);
          if (kept.get(key) !== undefined) continue;
          const bytes = Buffer.alloc(step.length, step.key);
          bytesOf.set(key, bytes);
          kept.keep(encoded(bytes), 0, about(key, `s${step.key % 20}`));
          expect(kept.get(key)).toBeDefined();
          expect(kept.size).toBeLessThanOrEqual(30);
          for (const [known, own] of bytesOf) {
            const reply = kept.get(known);
            if (reply !== undefined) expect(reply.source.subarray(reply.at, reply.at + reply.length)).toEqual(own);
          }
        }
      }),
    );
  });

  it('are kept in the order of their age, none beyond its share', () => {
    const kept = new KeptReplies({ ringBytes: 1000, mostReplies: 100 });
    for (let i = 0; i < 20; i += 1) kept.keep(encoded(Buffer.alloc(100, i)), 0, about(`k${i}`, 's'));
    expect([kept.get('k9'), kept.get('k10') !== undefined, kept.size, kept.evictions]).toEqual([
      undefined,
      true,
      10,
      10,
    ]);
    kept.keep(encoded(Buffer.alloc(126)), 0, about('large', 's'));
    expect([kept.get('large'), kept.size]).toEqual([undefined, 10]);
  });
});

describe('names that somebody makes up', () => {
  it('neither grow what is kept nor push out what is used', async () => {
    const web = serviceChange('web', { clusterIPs: ['10.96.0.10'], endpoints: '10.244.1.1' });
    const lab = new EngineLab({ changes: [DEFAULT_NAMESPACE, web], pods: 'insecure' });
    const used = [
      'web.default.svc.cluster.local',
      '10-244-1-1.web.default.svc.cluster.local',
      '10.0.96.10.in-addr.arpa',
    ];
    for (const name of used) await lab.ask(name, 'A');
    const { entries } = lab.engine.readings().kept;
    expect(entries).toBe(3);
    for (let i = 0; i < 2000; i += 1) {
      await lab.ask(`x${i}.web.default.svc.cluster.local`, 'A');
      await lab.ask(`x${i}.default.svc.cluster.local`, 'AAAA');
      await lab.ask(`x${i}.cluster.local`, 'A');
      await lab.ask(`10-0-${i >> 8}-${i & 255}.default.pod.cluster.local`, 'A');
      await lab.ask(`${i & 255}.${i >> 8}.9.10.in-addr.arpa`, 'PTR');
      await lab.ask('web.default.svc.cluster.local', `UNKNOWN_${1000 + i}`);
    }
    const before = lab.engine.readings().kept;
    expect([before.entries, before.evictions]).toEqual([entries, 0]);
    for (const name of used) await lab.ask(name, 'A');
    expect(lab.engine.readings().kept.hits).toBe(before.hits + 3);
  });
});
