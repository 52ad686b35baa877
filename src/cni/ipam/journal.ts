/**
 * The database file of the attachments: what the store's memory is read from when the agent starts. A write is complete, and
 * survives the end of this process, when it returns. It isn't forced to the platter: only a power loss or a crash of the kernel
 * could undo it, and those end every namespace and with them the worth of all records (see the boot id); WAL keeps the file
 * whole through both (https://sqlite.org/pragma.html#pragma_synchronous, NORMAL).
 */
import { type Stats, statSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';

/** Raised when older programs would misread the file. */
const SCHEMA_VERSION = 1;

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS attachments (
    network TEXT, container TEXT, ifname TEXT, value TEXT, PRIMARY KEY (network, container, ifname)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS rests (network TEXT, address TEXT, since, PRIMARY KEY (network, address)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS last_given (network TEXT, ranges TEXT, address TEXT, PRIMARY KEY (network, ranges)) WITHOUT ROWID;
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

export type TableName = 'about' | 'attachments' | 'rests' | 'last_given';

/** A row by its key: to be there with this value, or, without one, not to be there. */
export interface RowChange {
  readonly table: TableName;
  readonly key: readonly string[];
  readonly value?: string | number;
}

const KEY_COLUMNS: Readonly<Record<TableName, readonly string[]>> = {
  about: ['name'],
  attachments: ['network', 'container', 'ifname'],
  rests: ['network', 'address'],
  last_given: ['network', 'ranges'],
};

const VALUE_COLUMNS: Readonly<Record<TableName, string>> = {
  about: 'value',
  attachments: 'value',
  rests: 'since',
  last_given: 'address',
};

/** As it was in the file: nothing about it is sure. */
export interface FoundRow {
  readonly key: readonly unknown[];
  readonly value: unknown;
}

/** The file can't be used: it must go out of the way. */
export class CorruptError extends Error {
  override readonly name = 'CorruptError';
}

/** Another process has it open. */
export class BusyError extends Error {
  override readonly name = 'BusyError';
}

/** Primary result codes, https://sqlite.org/rescode.html. */
const SQLITE_BUSY = 5;
const CORRUPT_CODES: ReadonlySet<number> = new Set([11 /* CORRUPT */, 26 /* NOTADB */]);
/** What a table that has other columns gives: SQLITE_ERROR. */
const SQLITE_ERROR = 1;

interface TableStatements {
  readonly put: StatementSync;
  readonly remove: StatementSync;
}

export class Journal implements Disposable {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements: Readonly<Record<TableName, TableStatements>>;
  readonly #file: Stats;

  private constructor(path: string, database: DatabaseSync) {
    this.#path = path;
    this.#database = database;
    this.#statements = {
      about: prepare(database, 'about'),
      attachments: prepare(database, 'attachments'),
      rests: prepare(database, 'rests'),
      last_given: prepare(database, 'last_given'),
    };
    this.#file = statSync(path);
  }

  /** Makes the file when there is none. @throws CorruptError, BusyError; else the system's or SQLite's own error */
  static open(path: string): Journal {
    return explained(() => {
      const database = new DatabaseSync(path, { timeout: 0 });
      try {
        // Nobody else may write, and there is no shared memory to keep.
        database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
        refuseOtherVersion(database);
        database.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT`);
        return new Journal(path, database);
      } catch (error) {
        database.close();
        throw error;
      }
    });
  }

  /** Every row of a table. @throws CorruptError, or SQLite's own error */
  rows(table: TableName): readonly FoundRow[] {
    return explained(() => readRows(this.#database, table));
  }

  /** All of them or none. @throws CorruptError, or SQLite's own error */
  write(changes: Iterable<RowChange>): void {
    this.#transact('', changes);
  }

  /** Instead of all that was there. @throws CorruptError, or SQLite's own error */
  replace(rows: Iterable<RowChange>): void {
    const tables = Object.keys(this.#statements);
    this.#transact(tables.map(table => `DELETE FROM ${table};`).join(' '), rows);
  }

  #transact(first: string, changes: Iterable<RowChange>): void {
    explained(() => {
      try {
        this.#database.exec(`BEGIN IMMEDIATE; ${first}`);
        for (const { table, key, value } of changes) {
          const { put, remove } = this.#statements[table];
          if (value === undefined) remove.run(...key);
          else put.run(...key, value);
        }
        this.#database.exec('COMMIT');
      } catch (error) {
        // Of some errors SQLite has rolled back by itself.
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
        throw error;
      }
    });
  }

  /** Whether the file is still the one at its path: a removed one would take every write and lose it. */
  get isInPlace(): boolean {
    const now = statSync(this.#path, { throwIfNoEntry: false });
    return now !== undefined && now.ino === this.#file.ino && now.dev === this.#file.dev;
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }
}

/** The rows of a table of a file that nobody writes, which stays as it is. @throws as `Journal.open` does */
export function readJournal(path: string, table: TableName): readonly FoundRow[] {
  return explained(() => {
    const database = new DatabaseSync(path, { readOnly: true, timeout: 1000 });
    try {
      refuseOtherVersion(database);
      return readRows(database, table);
    } finally {
      database.close();
    }
  });
}

function prepare(database: DatabaseSync, table: TableName): TableStatements {
  const keys = KEY_COLUMNS[table];
  const columns = [...keys, VALUE_COLUMNS[table]];
  const condition = keys.map(key => `${key} = ?`).join(' AND ');
  return {
    put: database.prepare(
      `INSERT OR REPLACE INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
    ),
    remove: database.prepare(`DELETE FROM ${table} WHERE ${condition}`),
  };
}

function readRows(database: DatabaseSync, table: TableName): readonly FoundRow[] {
  const keys = KEY_COLUMNS[table];
  const value = VALUE_COLUMNS[table];
  const rows = database.prepare(`SELECT ${[...keys, value].join(', ')} FROM ${table}`).all();
  return rows.map(row => ({ key: keys.map(key => row[key]), value: row[value] }));
}

function refuseOtherVersion(database: DatabaseSync): void {
  const version = database.prepare('PRAGMA user_version').get()?.user_version;
  const tables = database.prepare('SELECT count(*) AS count FROM sqlite_schema').get()?.count;
  if (version === SCHEMA_VERSION || (version === 0 && tables === 0)) return;
  throw new CorruptError(`schema version ${String(version)} instead of ${SCHEMA_VERSION}`);
}

/** Runs `step`, and tells SQLite's errors apart. */
function explained<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    const code = primaryCode(error);
    if (code === undefined) throw error;
    const why = error instanceof Error ? error.message : String(error);
    if (CORRUPT_CODES.has(code) || code === SQLITE_ERROR) throw new CorruptError(why, { cause: error });
    if (code === SQLITE_BUSY) throw new BusyError(why, { cause: error });
    throw error;
  }
}

/** undefined for what isn't SQLite's. */
function primaryCode(error: unknown): number | undefined {
  const isOurs = error instanceof Error && 'errcode' in error && typeof error.errcode === 'number';
  return isOurs ? Number(error.errcode) & 0xff : undefined;
}
