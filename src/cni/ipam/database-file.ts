/** The place of the database, whatever state it is in. */
import { mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CorruptError, Journal } from './journal.ts';

export const DEFAULT_STATE_DIR = '/var/lib/kproxy-ts';
export const DATABASE_NAME = 'cni.db';

/** What SQLite keeps beside the file. */
const COMPANIONS = ['-wal', '-shm', '-journal'];

/** A damaged file that is out of the way now. */
export interface MovedAside {
  readonly to: string;
  readonly why: string;
}

/** `begin` reads from or writes to the journal, and may find it corrupt as well. */
export interface OpenFileOptions<T> {
  readonly directory: string;
  /** For the name of a file that is moved aside, milliseconds of the epoch. */
  readonly wallMs: number;
  readonly begin: (journal: Journal) => T;
  /** What is wrong with the file that is there, when that is known already. */
  readonly damage?: string;
  /** The file that SQLite's other files belonged to is gone: they would be taken for those of whatever is there now. */
  readonly isRemoved?: boolean;
}

export interface OpenedFile<T> {
  readonly journal: Journal;
  readonly begun: T;
  readonly movedAside?: MovedAside;
}

/**
 * Opens the database of a directory, which is made when it is missing; a corrupt one is moved aside and a new one begun.
 * @throws BusyError; else the system's or SQLite's error
 */
export function openFile<T>({
  directory,
  wallMs,
  begin,
  damage,
  isRemoved = false,
}: OpenFileOptions<T>): OpenedFile<T> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, DATABASE_NAME);
  if (isRemoved) for (const companion of COMPANIONS) rmSync(`${path}${companion}`, { force: true });
  try {
    if (damage !== undefined) throw new CorruptError(damage);
    refuseEmpty(path);
    return openOnce(path, begin);
  } catch (error) {
    if (!(error instanceof CorruptError)) throw error;
    const to = `${path}.corrupt-${new Date(wallMs).toISOString().replaceAll(':', '')}`;
    moveAside(path, to);
    return { ...openOnce(path, begin), movedAside: { to, why: error.message } };
  }
}

/** SQLite takes an empty file for a new database; but we have never left one. */
function refuseEmpty(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.size === 0) throw new CorruptError('the file is empty');
}

function openOnce<T>(path: string, begin: (journal: Journal) => T): OpenedFile<T> {
  const journal = Journal.open(path);
  try {
    return { journal, begun: begin(journal) };
  } catch (error) {
    journal[Symbol.dispose]();
    throw error;
  }
}

function moveAside(path: string, to: string): void {
  renameIfThere(path, to);
  for (const companion of COMPANIONS) {
    // One of an earlier damage in the same millisecond would belong to another file.
    rmSync(`${to}${companion}`, { force: true });
    renameIfThere(`${path}${companion}`, `${to}${companion}`);
  }
}

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  }
}
