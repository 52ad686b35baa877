/** The files of a directory of vectors, each known by its `schema` field. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export type Fields = Readonly<Record<string, unknown>>;

export interface VectorFile {
  readonly file: string;
  /** '' when the file names none. */
  readonly schema: string;
  readonly fields: Fields;
}

/** The vectors cannot be used at all: no such directory, a file that isn't JSON, a schema whose shape isn't the one it names. */
export class VectorError extends Error {
  override readonly name = 'VectorError';
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** All `*.json` of a directory, by name. @throws VectorError when the directory or a file can't be read */
export async function readVectors(directory: string): Promise<VectorFile[]> {
  let names: string[];
  try {
    names = (await readdir(directory)).filter(name => name.endsWith('.json')).toSorted();
  } catch (error) {
    throw new VectorError(`the directory ${directory} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  return Promise.all(names.map(name => readVectorFile(directory, name)));
}

async function readVectorFile(directory: string, name: string): Promise<VectorFile> {
  try {
    const value: unknown = JSON.parse(await readFile(join(directory, name), 'utf8'));
    if (!isFields(value)) return { file: name, schema: '', fields: {} };
    return { file: name, schema: typeof value.schema === 'string' ? value.schema : '', fields: value };
  } catch (error) {
    throw new VectorError(`${join(directory, name)} cannot be read: ${messageOf(error)}`, { cause: error });
  }
}

/** The list of objects at `field`. @throws VectorError when there is none, because a file without cases would pass */
export function listAt<T = Fields>({ file, fields }: VectorFile, field: string): readonly T[] {
  const list = fields[field];
  if (!Array.isArray(list)) throw new VectorError(`${file}: has no list '${field}', as its schema wants`);
  return list as T[];
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
