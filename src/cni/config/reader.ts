/** Reads fields of a JSON object, and says which one is wrong. Pure. */
import { CniError, CODE } from '../types.ts';

export type Json = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** What can't be used of a configuration. `where` is the field's path. @throws CniError 7 always */
export function refuse(where: string, problem: string): never {
  throw new CniError(CODE.badConfiguration, `${where}: ${problem}`);
}

/** The fields of one object. A field that is absent or null is undefined; of the wrong type, it is refused. */
export class Fields {
  readonly #object: Json;
  readonly #path: string;

  constructor(object: Json, path = '') {
    this.#object = object;
    this.#path = path;
  }

  /** @throws CniError 7 where the value is no object */
  static of(value: unknown, path: string): Fields {
    return new Fields(isObject(value) ? value : refuse(path, 'must be an object'), path);
  }

  path(name: string): string {
    return this.#path === '' ? name : `${this.#path}.${name}`;
  }

  raw(name: string): unknown {
    return this.#object[name] ?? undefined;
  }

  flag(name: string): boolean {
    const value = this.raw(name) ?? false;
    return typeof value === 'boolean' ? value : refuse(this.path(name), 'must be true or false');
  }

  text(name: string): string | undefined {
    const value = this.raw(name);
    return value === undefined || typeof value === 'string' ? value : refuse(this.path(name), 'must be a string');
  }

  integer(name: string, { min, max }: { readonly min: number; readonly max: number }): number | undefined {
    const value = this.raw(name);
    if (value === undefined) return undefined;
    const isFine = typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max;
    return isFine ? value : refuse(this.path(name), `must be a whole number from ${min} to ${max}`);
  }

  /** No such field = no fields. */
  section(name: string): Fields {
    return Fields.of(this.raw(name) ?? {}, this.path(name));
  }

  list<T>(name: string, read: (entry: unknown, path: string) => T): T[] {
    const value = this.raw(name) ?? [];
    if (!Array.isArray(value)) return refuse(this.path(name), 'must be a list');
    return value.map((entry, index) => read(entry, `${this.path(name)}[${index}]`));
  }

  texts(name: string): string[] {
    return this.list(name, (entry, path) => (typeof entry === 'string' ? entry : refuse(path, 'must be a string')));
  }
}
