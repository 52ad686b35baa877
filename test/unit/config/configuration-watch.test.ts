import { execFileSync } from 'node:child_process';
import { link, mkdir, mkdtemp, open, rename, rm, symlink, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { watchConfiguration } from '../../../src/config/configuration-watch.ts';
import type { Difference } from '../../../src/config/differences.ts';
import { type LoadedConfiguration, parseConfiguration } from '../../../src/config/load.ts';
import type { Clock } from '../../../src/watch/clock.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

const config = (bit: number, more = '') =>
  `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.0.0.0/8\n${more}iptables: { masqueradeBit: ${bit} }\n`;

let directory: string;
let path: string;
let log: ReturnType<typeof recordedLog>;
let taken: LoadedConfiguration[];
let told: (readonly Difference[])[];
let watching: AsyncDisposable | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kproxy-config-'));
  path = join(directory, 'config.yaml');
  log = recordedLog();
  taken = [];
  told = [];
});
afterEach(async () => {
  await watching?.[Symbol.asyncDispose]();
  watching = undefined;
  await rm(directory, { recursive: true });
});

interface Start {
  readonly current?: string;
  readonly clock?: Clock;
  readonly parse?: (text: string, source: string) => LoadedConfiguration;
  readonly onChange?: (next: LoadedConfiguration) => void;
}

async function start({ current = config(14), onChange, ...rest }: Start = {}): Promise<void> {
  watching = await watchConfiguration({
    path,
    current: parseConfiguration(current, path),
    onChange: (next, differences) => {
      taken.push(next);
      told.push(differences);
      onChange?.(next);
    },
    log,
    signal: new AbortController().signal,
    ...rest,
  });
}

const bits = () => taken.map(({ configuration }) => configuration.iptables.masqueradeBit);
const untilBits = (...expected: number[]) => vi.waitFor(() => expect(bits()).toEqual(expected), { timeout: 4000 });
const untilLine = (part: string) => vi.waitFor(() => expect(log.lines.join('\n')).toContain(part), { timeout: 4000 });

/** Lets a manual clock go on, so many milliseconds at a look, until the check holds: when an event comes is the kernel's matter. */
const passing = (clock: ManualClock, stepMs: number, check: () => void) =>
  vi.waitFor(
    () => {
      clock.advance(stepMs);
      check();
    },
    { timeout: 4000 },
  );

/** How the kubelet updates a ConfigMap volume (AtomicWriter): a new directory, then one rename of `..data`, then the old one goes. */
async function swapConfigMap(version: string, text: string, previous?: string): Promise<void> {
  await mkdir(join(directory, version));
  await writeFile(join(directory, version, 'config.yaml'), text);
  await symlink(version, join(directory, '..data_tmp'));
  await rename(join(directory, '..data_tmp'), join(directory, '..data'));
  if (previous !== undefined) await rm(join(directory, previous), { recursive: true });
}

describe('a change is noticed and taken when the file', () => {
  test('is written in place', async () => {
    await writeFile(path, config(14));
    await start();
    await writeFile(path, config(15));
    await untilBits(15);
    expect(told[0]).toEqual([{ path: 'iptables.masqueradeBit', before: '14', after: '15', takesEffect: 'now' }]);
    expect(log.lines).toEqual([`info ${path} changed: iptables.masqueradeBit: 14 → 15 (now)`]);
  });

  test('is replaced by a rename, again and again', async () => {
    await writeFile(path, config(14));
    await start();
    for (const bit of [15, 16, 17]) {
      await writeFile(`${path}.new`, config(bit));
      await rename(`${path}.new`, path);
      await vi.waitFor(() => expect(bits().at(-1)).toBe(bit), { timeout: 4000 });
    }
    await untilBits(15, 16, 17);
  });

  test('is in a ConfigMap volume, swap after swap', async () => {
    await swapConfigMap('..2026_01', config(14));
    await symlink('..data/config.yaml', path);
    await start();
    await swapConfigMap('..2026_02', config(15), '..2026_01');
    await untilBits(15);
    await swapConfigMap('..2026_03', config(16), '..2026_02');
    await untilBits(15, 16);
  });

  test('is where a symlink points, and that is written to', async () => {
    await mkdir(join(directory, 'elsewhere'));
    await writeFile(join(directory, 'elsewhere/real.yaml'), config(14));
    await symlink('elsewhere/real.yaml', path);
    await start();
    await writeFile(join(directory, 'elsewhere/real.yaml'), config(15));
    await untilBits(15);
  });

  test('is in a directory that is replaced as a whole', async () => {
    path = join(directory, 'etc/config.yaml');
    await mkdir(join(directory, 'etc'));
    await writeFile(path, config(14));
    await start();
    await mkdir(join(directory, 'etc.new'));
    await writeFile(join(directory, 'etc.new/config.yaml'), config(15));
    await rename(join(directory, 'etc'), join(directory, 'etc.old'));
    await rename(join(directory, 'etc.new'), join(directory, 'etc'));
    await untilBits(15);
    await writeFile(path, config(16));
    await untilBits(15, 16);
  });

  test('was changed between the first read and the watch', async () => {
    await writeFile(path, config(15));
    await start({ current: config(14) });
    expect(bits()).toEqual([15]);
  });

  test('is written to without an event, as on some network file systems: by looking now and then', async () => {
    await writeFile(path, config(14));
    await mkdir(join(directory, 'elsewhere'));
    // inotify tells only the directory of the name that was written through.
    await link(path, join(directory, 'elsewhere/same.yaml'));
    const clock = new ManualClock();
    await start({ clock });
    await writeFile(join(directory, 'elsewhere/same.yaml'), config(15));
    await clock.pass(30_000);
    await untilBits(15);
  });
});

describe('nothing happens when', () => {
  test('only comments change, or the same is written again', async () => {
    await writeFile(path, config(14));
    await start();
    await writeFile(path, `# hello\n${config(14)}`);
    await writeFile(path, config(14));
    await writeFile(path, config(15));
    await untilBits(15);
    expect(log.lines).toHaveLength(1);
  });

  test('the file is away for a moment', async () => {
    const clock = new ManualClock();
    await writeFile(path, config(14));
    await start({ clock });
    const missed = vi.fn();
    void clock.armed(2000).then(missed);
    await rename(path, `${path}.old`);
    await passing(clock, 10, () => expect(missed).toHaveBeenCalled());
    await writeFile(path, config(15));
    await passing(clock, 10, () => expect(bits()).toEqual([15]));
    expect(log.lines.filter(line => line.startsWith('error'))).toEqual([]);
  });
});

describe('what was read last stays when the file', () => {
  test('is wrong: each content is refused once with all its errors, and the next right one is taken', async () => {
    await writeFile(path, config(14));
    await start();
    await writeFile(path, config(40, 'bindAddress: 7\n'));
    await untilLine('is refused');
    expect(log.lines).toEqual([
      `error ${path} is refused, the configuration stays as it is: bindAddress: must be an IP address, is 7; iptables.masqueradeBit: must be between 0 and 31, is 40`,
    ]);
    await writeFile(path, config(41));
    await untilLine('is 41');
    await writeFile(path, config(15));
    await untilBits(15);
    expect(log.lines).toHaveLength(3);
    expect(told[0]).toHaveLength(1);
  });

  test('is half written', async () => {
    await writeFile(path, config(14));
    await start();
    const file = await open(path, 'w');
    await file.write(config(15).slice(0, -3));
    await untilLine('is refused');
    await file.write(config(15).slice(-3));
    await file.close();
    await untilBits(15);
  });

  test('is wrong, and then as it was', async () => {
    await writeFile(path, config(14));
    await start();
    await writeFile(path, '[');
    await untilLine('is refused');
    await writeFile(path, config(14));
    await untilLine('is valid again; nothing differs');
    expect(bits()).toEqual([]);
  });

  test('vanishes: said once, after a moment; and that it is back', async () => {
    const clock = new ManualClock();
    await writeFile(path, config(14));
    await start({ clock });
    await unlink(path);
    const line = `error ${path}: cannot be read: no such file; the configuration stays as it is`;
    await passing(clock, 500, () => expect(log.lines).toEqual([line]));
    await clock.pass(30_000);
    await clock.armed(30_000);
    expect(log.lines).toEqual([line]);
    await writeFile(path, config(15));
    await passing(clock, 50, () => expect(bits()).toEqual([15]));
    expect(log.lines[1]).toBe(`info ${path} can be read again`);
  });

  test('is empty for long', async () => {
    const clock = new ManualClock();
    await writeFile(path, config(14));
    await start({ clock });
    const noted = vi.fn();
    void clock.armed(2000).then(noted);
    await writeFile(path, '');
    await passing(clock, 10, () => expect(noted).toHaveBeenCalled());
    expect(log.lines).toEqual([]);
    await passing(clock, 500, () => expect(log.lines).toHaveLength(1));
    expect(log.lines[0]).toBe(`error ${path}: is empty; the configuration stays as it is`);
  });

  test.each([
    ['a directory', () => mkdir(path), 'is a directory'],
    ['a pipe that nobody writes to', () => execFileSync('mkfifo', [path]), 'is not a regular file'],
    ['larger than any configuration', () => writeFile(path, Buffer.alloc(9 * 2 ** 20)), 'is larger than 8 MiB'],
  ])('becomes %s, and then a file again', async (_what, make, reason) => {
    const clock = new ManualClock();
    await writeFile(path, config(14));
    await start({ clock });
    await unlink(path);
    await make();
    const line = `error ${path}: cannot be read: ${reason}; the configuration stays as it is`;
    await passing(clock, 500, () => expect(log.lines).toEqual([line]));
    await rm(path, { recursive: true });
    await writeFile(path, config(15));
    await passing(clock, 50, () => expect(bits()).toEqual([15]));
  });
});

describe('the log', () => {
  test('names new warnings, and not those that were there', async () => {
    const current = config(14, 'portRange: 1-2\n');
    await writeFile(path, current);
    await start({ current });
    await writeFile(path, config(15, 'portRange: 1-2\nfoo: 1\n'));
    await untilBits(15);
    expect(log.lines.filter(line => line.startsWith('warn'))).toEqual(['warn unknown field foo, ignored']);
  });

  test('says when a change could not be put into effect, and goes on', async () => {
    await writeFile(path, config(14));
    await start({
      onChange: ({ configuration }) => {
        if (configuration.iptables.masqueradeBit === 15) throw new Error('the port is taken');
      },
    });
    await writeFile(path, config(15));
    await untilLine('could not be put into effect wholly: the port is taken');
    await writeFile(path, config(16));
    await untilBits(15, 16);
  });
});

test('after it is disposed of, nothing is taken any more', async () => {
  await writeFile(path, config(14));
  await start();
  await watching?.[Symbol.asyncDispose]();
  const clock = new ManualClock();
  await start({ clock });
  await writeFile(path, config(15));
  await passing(clock, 50, () => expect(bits()).toEqual([15]));
});
