import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type FileSource, FileSourceError, startFileSource } from '../../../src/watch/file-source.ts';
import { Store } from '../../../src/watch/store.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { recordedLog } from '../../fakes/recorded-log.ts';

const service = (name: string, port = 80) =>
  `apiVersion: v1\nkind: Service\nmetadata: {name: ${name}}\nspec: {clusterIP: 10.96.0.10, ports: [{port: ${port}}]}\n`;

let parent: string;
let directory: string;
let store: Store;
let log: ReturnType<typeof recordedLog>;
let source: FileSource | undefined;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'manifests-'));
  directory = join(parent, 'manifests');
  await mkdir(directory);
  store = new Store();
  log = recordedLog();
});
afterEach(async () => {
  await source?.[Symbol.asyncDispose]();
  source = undefined;
  await rm(parent, { recursive: true });
});

const write = (name: string, text: string) => writeFile(join(directory, name), text);
const start = async (clock?: ManualClock) => {
  const { signal } = new AbortController();
  source = await startFileSource({ directory, store, log, signal, ...(clock === undefined ? {} : { clock }) });
};
const names = () =>
  [...store.snapshot.services.values()].map(({ name, ports }) => `${name}:${ports[0]?.port}`).toSorted();
const problems = () => store.problems().map(({ object, field, message }) => `${object}: ${field}: ${message}`);

/** Resolves as soon as the store looks like this; fails by the test's timeout. */
async function until(isReached: () => boolean): Promise<void> {
  while (!isReached()) {
    const { promise, resolve } = Promise.withResolvers<void>();
    const stops = [store.onDirty(() => resolve()), store.onProblem(() => resolve())];
    await promise;
    for (const stop of stops) stop();
  }
}
const untilNames = (...expected: string[]) => until(() => names().join() === expected.join());

describe('at the start', () => {
  it('all manifests are in the store, and it is synced', async () => {
    await write('a.yaml', `${service('a')}---\n${service('b')}`);
    await write('b.yml', service('c'));
    await write('c.json', JSON.stringify({ kind: 'Node', metadata: { name: 'n1' } }));
    await start();
    expect(store.isSynced).toBe(true);
    expect(names()).toEqual(['a:80', 'b:80', 'c:80']);
    expect([...store.snapshot.nodes.keys()]).toEqual(['n1']);
  });

  it('ServiceCIDRs are there as well, and go with their file', async () => {
    const range = (name: string, cidr: string) =>
      `apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: ${name}}\nspec: {cidrs: [${cidr}]}\n`;
    await write('a.yaml', range('kubernetes', '10.96.0.1/16'));
    await write('b.yaml', range('more', 'FD00:96::/112'));
    await start();
    expect(store.snapshot.serviceCIDRs).toEqual(['10.96.0.0/16', 'fd00:96::/112']);
    await rm(join(directory, 'b.yaml'));
    await until(() => store.snapshot.serviceCIDRs.length === 1);
  });

  it('an empty directory is an empty cluster', async () => {
    await start();
    expect([store.isSynced, names()]).toEqual([true, []]);
  });

  it('editor files, backups, hidden files, directories and other names are left alone', async () => {
    for (const name of [
      '.a.yaml',
      'a.yaml~',
      '#a.yaml#',
      '.#a.yaml',
      '.a.yaml.swp',
      'a.yaml.bak',
      'README.md',
      '4913',
    ]) {
      await write(name, service('wrong'));
    }
    await mkdir(join(directory, 'sub.yaml'));
    await start();
    expect([names(), problems()]).toEqual([[], []]);
  });

  it('other kinds are ignored with one line', async () => {
    await write('a.yaml', 'apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: apps/v1\nkind: Deployment\n');
    await start();
    expect(log.lines).toEqual(['info a.yaml: apps/v1 Deployment is not used, ignored']);
  });

  it('a directory that cannot be read is an error that says so', async () => {
    const missing = join(parent, 'missing');
    const { signal } = new AbortController();
    const failed = startFileSource({ directory: missing, store, log, signal });
    await expect(failed).rejects.toThrow(FileSourceError);
    await expect(failed).rejects.toThrow(`the manifest directory ${missing} cannot be read: ENOENT`);
    await write('file', '');
    const onFile = startFileSource({ directory: join(directory, 'file'), store, log, signal });
    await expect(onFile).rejects.toThrow('cannot be read: ENOTDIR');
  });
});

describe('a change', () => {
  it('of a file in place, by rename, and by deletion is followed', async () => {
    await write('a.yaml', service('a'));
    await start();
    await write('a.yaml', service('a', 81));
    await untilNames('a:81');
    await write('.a.yaml.tmp', service('a', 82));
    await rename(join(directory, '.a.yaml.tmp'), join(directory, 'a.yaml'));
    await untilNames('a:82');
    await write('b.yaml', service('b'));
    await untilNames('a:82', 'b:80');
    await rm(join(directory, 'a.yaml'));
    await untilNames('b:80');
  });

  it('that breaks a file is reported, and its last good state stays until it is whole again', async () => {
    await write('services.yaml', `${service('a')}---\n${service('b')}`);
    await start();
    await write('services.yaml', `${service('a', 81)}---\nkind: [`);
    await until(() => store.problems().length > 0);
    expect(names()).toEqual(['a:80', 'b:80']);
    expect(problems()[0]).toMatch(/^services\.yaml: document 2, line 6: .*; its last good state stays$/);
    await write('services.yaml', service('a', 81));
    await untilNames('a:81');
    expect(problems()).toEqual([]);
  });

  it('that breaks a field costs only the field', async () => {
    await write('services.yaml', `kind: Node\nmetadata: {name: n1}\n---\n${service('a')}`);
    await start();
    await write('services.yaml', `kind: Node\nmetadata: {name: n1}\n---\n${service('a', 70000)}`);
    await untilNames('a:undefined');
    expect(problems()[0]).toMatch(
      /^Service default\/a: services\.yaml, document 2, spec\.ports\[0\]\.port: 70000 is .* \(line 7\)$/,
    );
  });

  it('of the link that a ConfigMap volume swaps is followed', async () => {
    for (const [version, port] of [
      ['..v1', 80],
      ['..v2', 81],
    ] as const) {
      await mkdir(join(directory, version));
      await write(`${version}/a.yaml`, service('a', port));
    }
    await symlink('..v1', join(directory, '..data'));
    await symlink('..data/a.yaml', join(directory, 'a.yaml'));
    await start();
    expect(names()).toEqual(['a:80']);
    await symlink('..v2', join(directory, '..data_tmp'));
    await rename(join(directory, '..data_tmp'), join(directory, '..data'));
    await untilNames('a:81');
  });

  it('to nothing new marks nothing', async () => {
    await write('a.yaml', service('a'));
    await start();
    await Promise.resolve();
    const dirty: string[][] = [];
    store.onDirty(batch => dirty.push([...batch.services]));
    await write('a.yaml', `# a comment\n${service('a')}`);
    await write('b.yaml', service('b'));
    await untilNames('a:80', 'b:80');
    expect(dirty).toEqual([['default/b']]);
  });

  it('that fs.watch cannot see is found by looking from time to time', async () => {
    const elsewhere = join(parent, 'elsewhere.yaml');
    await writeFile(elsewhere, service('a'));
    await symlink(elsewhere, join(directory, 'a.yaml'));
    const clock = new ManualClock();
    await start(clock);
    await clock.armed(10_000);
    await writeFile(elsewhere, service('a', 8081));
    clock.advance(10_000);
    await untilNames('a:8081');
  });

  it('of the directory itself: what is known stays while it is away, and a new one is followed', async () => {
    await write('a.yaml', service('a'));
    const clock = new ManualClock();
    await start(clock);
    await rename(directory, join(parent, 'away'));
    for (let round = 0; round < 20 && log.lines.length === 0; round++) {
      clock.advance(10_000);
      await new Promise(setImmediate);
      await new Promise(setImmediate);
    }
    await until(() => names().join() === 'a:80');
    await mkdir(directory);
    await write('b.yaml', service('b'));
    const followed = untilNames('b:80');
    for (let isDone = false; !isDone; clock.advance(10_000)) {
      isDone = await Promise.race([followed.then(() => true), new Promise<boolean>(r => setImmediate(() => r(false)))]);
    }
    expect(log.lines.filter(line => line.startsWith('error')).length).toBeLessThanOrEqual(1);
  });
});

describe('the same object twice', () => {
  it('is of the first file by name, reported, and taken over when that file goes', async () => {
    await write('b.yaml', service('a', 81));
    await write('a.yaml', service('a', 80));
    await start();
    expect(names()).toEqual(['a:80']);
    expect(problems()).toEqual([
      'Service default/a: b.yaml, document 1: is in a.yaml, document 1 already; ignored here',
    ]);
    await rm(join(directory, 'a.yaml'));
    await untilNames('a:81');
    expect(problems()).toEqual([]);
  });
});

describe('disposal', () => {
  it('ends all, at once', async () => {
    const clock = new ManualClock();
    await start(clock);
    await source?.[Symbol.asyncDispose]();
    expect(clock.pending).toBe(0);
  });
});
