import type { Trimmed } from './trim.ts';

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

/** Where a Reflector puts what it sees. */
export interface ReflectorTarget<T> {
  /** A complete list: what isn't in it is gone. */
  replace(list: Iterable<Trimmed<T>>): void;
  /** One object is new or different. */
  accept(trimmed: Trimmed<T>): void;
  /** One object is gone. */
  remove(key: string): void;
}
