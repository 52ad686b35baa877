/**
 * cni-store-main.ts full|read-only|write DIRECTORY, run by cni-store.test.ts.
 * `full` and `read-only` need a mount namespace of their own, mount a small file system at DIRECTORY and print what the store did.
 * `write` reserves and releases until it is killed, and prints each change when it has been promised.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { parseRangeSets } from '../../src/cni/config/ranges.ts';
import { AttachmentStore } from '../../src/cni/ipam/store.ts';
import { CniError } from '../../src/cni/types.ts';

const [what = '', directory = ''] = process.argv.slice(2);

const rangeSets = parseRangeSets({ ipam: { subnet: '10.0.0.0/16' }, podCIDRs: [] });
const idOf = (containerID: string) => ({ network: 'kp', containerID, ifname: 'eth0' });
const open = () =>
  AttachmentStore.open({ directory, bootId: 'b', now: () => Math.floor(performance.now()), onOpen: () => undefined });

function reserve(store: AttachmentStore, name: string): Promise<unknown> {
  const hostPorts = [{ hostIP: '', hostPort: 1 + Number(name.slice(1)), protocol: 'tcp' as const, containerPort: 80 }];
  const config = { filler: 'x'.repeat(3000), name };
  return store.reserve({ id: idOf(name), createdAt: 1, rangeSets, requested: [], hostPorts, config, netns: '' });
}

/** The code, and 0 for success. */
async function codeOf(changing: Promise<unknown>): Promise<number> {
  try {
    await changing;
    return 0;
  } catch (error) {
    if (error instanceof CniError) return error.code;
    throw error;
  }
}

/** Takes all the room that is left. */
function fillDisk(path: string): void {
  const descriptor = openSync(path, 'w');
  try {
    for (;;) writeSync(descriptor, Buffer.alloc(4096));
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  } finally {
    closeSync(descriptor);
  }
}

async function full(): Promise<object> {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'tmpfs', directory]);
  const store = open();
  await Promise.all([reserve(store, 'c0'), reserve(store, 'c1')]);
  fillDisk(join(directory, 'filler'));
  // The log has some room of its own at times; each takes a page of it.
  const codes: number[] = [];
  for (let i = 2; i < 500 && codes.at(-1) !== 104; i++) codes.push(await codeOf(reserve(store, `c${i}`)));
  const size = store.size;
  const again = [await codeOf(reserve(store, 'c600')), await codeOf(reserve(store, 'c600'))];
  const problem = store.problem;
  const stillThere = store.recover() !== undefined;
  const released = await codeOf(store.release(idOf('c1')));
  const whileFull = { size: store.size, ports: await codeOf(reserve(store, 'c1')) };
  rmSync(join(directory, 'filler'));
  const recovered = store.recover() === undefined;
  const after = [await codeOf(reserve(store, 'c600')), await codeOf(store.ready(idOf('c0')))];
  const names = store.all().map(({ id, state }) => [id.containerID, state]);
  store[Symbol.dispose]();
  using next = open();
  const nextNames = next.all().map(({ id, state }) => [id.containerID, state]);
  const isSame = JSON.stringify(nextNames.toSorted()) === JSON.stringify(names.toSorted());
  const sizes = [codes.filter(code => code === 0).length + 2 - size, size - whileFull.size];
  return { last: codes.at(-1), again, problem, stillThere, released, whileFull, recovered, after, isSame, sizes };
}

async function readOnly(): Promise<object> {
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', directory]);
  const first = open();
  await reserve(first, 'c0');
  first[Symbol.dispose]();
  const remount = (how: string) => execFileSync('mount', ['-o', `remount,${how}`, directory]);
  remount('ro');
  const store = open();
  const refused = [await codeOf(reserve(store, 'c1')), await codeOf(store.release(idOf('c0')))];
  const problem = store.problem;
  remount('rw');
  const recovered = store.recover() === undefined;
  const after = await codeOf(reserve(store, 'c1'));
  const names = store.all().map(({ id }) => id.containerID);
  store[Symbol.dispose]();
  return { refused, problem, recovered, after, names };
}

async function write(): Promise<void> {
  const store = open();
  const live = new Set(store.all().map(({ id }) => id.containerID));
  const tell = (sign: string, name: string) => void writeSync(1, `${sign}${name}\n`);
  const change = async (name: string) => {
    if (live.delete(name)) {
      tell('?', name);
      await store.release(idOf(name));
      tell('-', name);
      return;
    }
    tell('?', name);
    await reserve(store, name);
    live.add(name);
    tell('+', name);
  };
  for (;;) {
    const names = new Set(Array.from({ length: 5 }, () => `c${Math.floor(Math.random() * 60)}`));
    await Promise.all([...names].map(change));
  }
}

if (what === 'write') await write();
else process.stdout.write(JSON.stringify(what === 'full' ? await full() : await readOnly()));
