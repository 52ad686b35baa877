/** Who holds a flock(2) on a file, from /proc. The kernel tells only of processes in this PID namespace. */
import { readdir, readFile, stat } from 'node:fs/promises';

export interface LockHolder {
  readonly pid: number;
  /** Its command line, or its name in brackets where it has none. */
  readonly command: string;
  /** The process that started it. */
  readonly parent: number;
}

/** A file's identity in the kernel. */
interface Inode {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** The process that holds the lock on `path`; undefined when nobody does, or nobody that can be seen from here. */
export async function flockHolder(path: string): Promise<LockHolder | undefined> {
  const inode = await inodeOf(path);
  if (inode === undefined) return undefined;
  const listed = holderPid(await textOf('/proc/locks'), inode);
  // The process that locked may have handed the descriptor on and be gone, as the shell's `flock 9` is.
  const pid = listed !== undefined && (await hasLock(listed, inode)) ? listed : await findHolder(inode);
  return pid === undefined ? undefined : describe(pid);
}

/** Whether the process has `path` open and no lock on it: as good as waiting for one. */
export async function isWithoutLock(path: string, pid: number): Promise<boolean> {
  const inode = await inodeOf(path);
  if (inode === undefined) return false;
  const descriptors = await descriptorsOf(pid, inode);
  return descriptors.length > 0 && !(await isAnyLocked(descriptors));
}

/** From /proc/locks: `2: FLOCK  ADVISORY  WRITE 4635 fe:00:2148646 0 EOF`; a line with `->` is of one that waits. */
function holderPid(locks: string, { dev, ino }: Inode): number | undefined {
  for (const line of locks.split('\n')) {
    const [, pid, major, minor, inode] =
      /^\d+: FLOCK +\S+ +WRITE +(\d+) +([0-9a-f]+):([0-9a-f]+):(\d+) /.exec(line) ?? [];
    if (inode !== String(ino) || pid === undefined) continue;
    if (Number.parseInt(`${major}`, 16) === majorOf(dev) && Number.parseInt(`${minor}`, 16) === minorOf(dev))
      return Number(pid);
  }
  return undefined;
}

// As makedev(3) packs them.
const majorOf = (dev: bigint) => Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n));
const minorOf = (dev: bigint) => Number((dev & 0xffn) | ((dev >> 12n) & 0xffffff00n));

async function findHolder(inode: Inode): Promise<number | undefined> {
  for (const name of await namesIn('/proc')) {
    if (/^\d+$/.test(name) && (await hasLock(Number(name), inode))) return Number(name);
  }
  return undefined;
}

async function hasLock(pid: number, inode: Inode): Promise<boolean> {
  return isAnyLocked(await descriptorsOf(pid, inode));
}

/** The fdinfo files of the process's descriptors of this file. */
async function descriptorsOf(pid: number, { dev, ino }: Inode): Promise<string[]> {
  const found: string[] = [];
  for (const name of await namesIn(`/proc/${pid}/fd`)) {
    const target = await inodeOf(`/proc/${pid}/fd/${name}`);
    if (target?.dev === dev && target.ino === ino) found.push(`/proc/${pid}/fdinfo/${name}`);
  }
  return found;
}

async function isAnyLocked(descriptors: readonly string[]): Promise<boolean> {
  for (const path of descriptors) if (/^lock:\s.*FLOCK/m.test(await textOf(path))) return true;
  return false;
}

async function describe(pid: number): Promise<LockHolder> {
  const line = (await textOf(`/proc/${pid}/cmdline`)).replaceAll('\0', ' ').trim();
  const status = await textOf(`/proc/${pid}/status`);
  const field = (name: string) => new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? '';
  return { pid, command: line === '' ? `[${field('Name')}]` : line, parent: Number(field('PPid')) };
}

async function inodeOf(path: string): Promise<Inode | undefined> {
  return orIfGone(stat(path, { bigint: true }), undefined);
}

const textOf = (path: string) => orIfGone(readFile(path, 'utf8'), '');
const namesIn = (path: string) => orIfGone(readdir(path), []);

/** Processes end, and close files, while they are looked at, and others may not be looked at: they say nothing. */
async function orIfGone<T, U>(asked: Promise<T>, otherwise: U): Promise<T | U> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof Error && 'syscall' in error) return otherwise;
    throw error;
  }
}
