import type { Trimmed } from './trim-named.ts';

/** A collection of the API and what is kept of its objects. */
export interface Resource<T> {
  /** For log lines: `Service`. */
  readonly kind: string;
  /** `/api/v1/services` */
  readonly path: string;
  /** Selectors, in every request: `{ fieldSelector: 'metadata.name=n1' }`. */
  readonly query?: Readonly<Record<string, string>>;
  readonly trim: (raw: unknown) => Trimmed<T>;
}

/** An object of a complete list: what is left of it, or that it is as the target holds it already. */
export type Listed<T> = (Trimmed<T> & { readonly isUnchanged?: never }) | Unchanged;

export interface Unchanged {
  readonly key: string;
  readonly isUnchanged: true;
}

/** Where a Reflector puts what it sees. */
export interface ReflectorTarget<T> {
  /** A complete list: what isn't in it is gone. */
  replace(list: Iterable<Listed<T>>): void;
  /** One object is new or different. */
  accept(trimmed: Trimmed<T>): void;
  /** One object is gone. */
  remove(key: string): void;
}
