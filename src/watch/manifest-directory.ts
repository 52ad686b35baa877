import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Log } from './log.ts';
import { type Manifest, ManifestError, type ManifestObject, parseManifest } from './manifest.ts';
import type { Problem } from './objects.ts';

/** What the files of a directory say together. */
export interface DirectoryContents {
  /** Each object once: of the first file by name that has it. */
  readonly objects: readonly ManifestObject[];
  /** By file name: why it cannot be read, and what stands in for it. */
  readonly brokenFiles: ReadonlyMap<string, Problem>;
  /** Objects that more than one place defines. */
  readonly duplicates: readonly Problem[];
}

interface KnownFile {
  /** Changes when the content does: modification time, size, inode. */
  readonly version: string;
  readonly manifest: Manifest | undefined;
  readonly problem: Problem | undefined;
}

/** Neither hidden files (editors, ConfigMap's `..data`) nor backups (`a.yaml~`, `#a.yaml#`). */
function isManifestName(name: string): boolean {
  return /\.(yaml|yml|json)$/.test(name) && !/^[.#]/.test(name);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The manifest files of one directory (not below it), each parsed again only when it changed. */
export class ManifestDirectory {
  readonly #directory: string;
  readonly #log: Log;
  #files: ReadonlyMap<string, KnownFile> = new Map();

  constructor(directory: string, log: Log) {
    this.#directory = directory;
    this.#log = log;
  }

  /** Looks at all files. Rejects when the directory cannot be read; then nothing has changed. */
  async scan(): Promise<DirectoryContents> {
    const names = (await readdir(this.#directory)).filter(isManifestName).toSorted();
    const files = new Map<string, KnownFile>();
    for (const name of names) {
      const file = await this.#look(name);
      if (file !== undefined) files.set(name, file);
    }
    this.#files = files;
    return contentsOf(files);
  }

  /** undefined when there is no such file (any more). */
  async #look(name: string): Promise<KnownFile | undefined> {
    const path = join(this.#directory, name);
    const known = this.#files.get(name);
    let version = '';
    try {
      // Follows symbolic links: the files of a ConfigMap are links through `..data`.
      const stats = await stat(path, { bigint: true });
      if (!stats.isFile()) return undefined;
      version = `${stats.mtimeNs} ${stats.size} ${stats.ino} ${stats.dev}`;
      if (known?.version === version) return known;
      return this.#parse(name, version, await readFile(path, 'utf8'));
    } catch (error) {
      if (isMissing(error)) return undefined;
      return this.#broken(name, version, error);
    }
  }

  #parse(name: string, version: string, text: string): KnownFile {
    const manifest = parseManifest(name, text);
    for (const kind of manifest.ignored) this.#log.info({ file: name, kind }, `${name}: ${kind} is not used, ignored`);
    return { version, manifest, problem: undefined };
  }

  #broken(name: string, version: string, error: unknown): KnownFile {
    const known = this.#files.get(name);
    const rest = known?.manifest === undefined ? 'nothing of it is used' : 'its last good state stays';
    const field = error instanceof ManifestError ? error.field : 'the file';
    const problem = { object: name, field, message: `${messageOf(error)}; ${rest}` };
    return { version, manifest: known?.manifest, problem };
  }
}

/** Settles which place defines an object, and names the others. */
function contentsOf(files: ReadonlyMap<string, KnownFile>): DirectoryContents {
  const owners = new Map<string, ManifestObject>();
  const nameless: ManifestObject[] = [];
  const brokenFiles = new Map<string, Problem>();
  const duplicates: Problem[] = [];
  for (const [name, { manifest, problem }] of files) {
    if (problem !== undefined) brokenFiles.set(name, problem);
    for (const object of manifest?.objects ?? []) {
      const id = `${object.kind} ${object.trimmed.key}`;
      const owner = owners.get(id);
      if (object.trimmed.key === undefined) nameless.push(object);
      else if (owner === undefined) owners.set(id, object);
      else duplicates.push({ object: id, field: object.place, message: `is in ${owner.place} already; ignored here` });
    }
  }
  return { objects: [...owners.values(), ...nameless], brokenFiles, duplicates };
}
