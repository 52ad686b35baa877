import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

const COUNT = 200_000;

interface Measured {
  readonly seen: number;
  readonly deleted: number;
  readonly grewMB: number;
}

describeUnless(await obstacle(), "the kernel's connection table", () => {
  let told: Record<string, unknown> = {};

  beforeAll(async () => {
    const script = fileURLToPath(new URL('./conntrack-table-main.ts', import.meta.url));
    const node = [process.execPath, '--expose-gc', '--max-semi-space-size=4', script, String(COUNT)];
    const { stdout } = await run('unshare', ['--net', ...node], { timeoutMs: 55_000 });
    told = JSON.parse(stdout);
  });

  it('is read as it was written: both families, ports, zones', () => {
    expect(told.inserted).toEqual({});
    const tuple = { protocol: 17, zone: 0 };
    const [client, sourcePort] = ['10.0.0.1', 1025];
    expect(told.first).toEqual({
      family: 'IPv4',
      id: true,
      zone: 0,
      status: expect.any(Number),
      original: { ...tuple, source: client, destination: '10.96.0.10', sourcePort, destinationPort: 53 },
      reply: { ...tuple, source: '10.244.0.1', destination: client, sourcePort: 5353, destinationPort: sourcePort },
    });
    expect(told.sixth).toEqual(['fd00::1']);
    expect(told.sixthByAddress).toBe(1);
    const ipv4 = ['10.0.0.1', '10.0.0.1', '10.0.0.2', '10.0.0.3'].map(source => `IPv4 ${source}`);
    expect(told.both).toEqual([...ipv4, 'IPv6 fd00::1']);
  });

  it('loses exactly the entry that is named: with another id, as after a reuse of the tuple, none', () => {
    expect(told.otherId).toEqual({ 2: 1 }); // ENOENT
    expect(told.afterOtherId).toBe(5);
    expect([told.zoned, told.one, told.rest]).toEqual([{ seen: 3, deleted: 1 }, { seen: 2, deleted: 1 }, 3]);
    expect(told.all).toEqual({ seen: 1, deleted: 1 });
    expect(told.untouched).toEqual([1, 1]);
    expect([told.ofBoth, told.none]).toEqual([{ seen: 2, deleted: 2 }, 0]);
  });

  it('is not read to the end when nobody wants that any more', () => {
    expect(told.aborted).toEqual({ early: 'Error: enough', midway: 'Error: enough', isShort: true });
  });

  it(`of ${COUNT} entries is gone through in flat memory`, () => {
    const { many, filtered, stale, left } = told as Record<string, Measured>;
    expect(many).toMatchObject({ seen: COUNT, deleted: 0 });
    expect(many?.grewMB).toBeLessThan(10);
    // The kernel's filter: not one entry comes.
    expect(filtered).toMatchObject({ seen: 0, deleted: 0 });
    expect(stale).toMatchObject({ deleted: COUNT / 4 });
    expect(stale?.grewMB).toBeLessThan(60);
    expect(left).toBe((COUNT * 3) / 4);
  });
});
