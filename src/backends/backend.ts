import type { Model, ServicePort, ServiceRoute } from '../endpoints/types.ts';

/**
 * What the kernel shall hold, or holds: objects by key. A key identifies one kernel object (a chain, a rule of a shared
 * chain, a map element, a virtual server, a listener); the object is plain data, so two states compare by value.
 */
export type Plan<O> = Map<string, O>;

/** The way from one Plan to another. Each part keeps the order in which its Plan lists the objects. */
export interface Changes<O> {
  readonly created: ReadonlyMap<string, O>;
  readonly updated: ReadonlyMap<string, { readonly before: O; readonly after: O }>;
  readonly deleted: ReadonlyMap<string, O>;
}

/** One object that the kernel refused; everything else was programmed. */
export interface ApplyFailure {
  readonly key: string;
  readonly error: Error;
}

export interface Applied<O> {
  /** What is true now. */
  readonly plan: Plan<O>;
  readonly failures: readonly ApplyFailure[];
}

/**
 * One way to carry Services in the kernel, for one IP family. Pure parts decide, `read` and `apply` do; nothing else has
 * side effects. Every backend passes the same suite.
 */
export interface Backend<O> {
  /** The objects of one route, those that others refer to first. Pure: the same route and options give the same objects. */
  planRoute(route: ServiceRoute): ReadonlyMap<string, O>;
  /** The objects that exist however many Services there are. Pure. */
  planShared(model: Model): ReadonlyMap<string, O>;
  /** What a ServicePort asks for and this backend doesn't do: a line for each, with the field and what happens instead. Pure. */
  unserved(port: ServicePort): readonly string[];
  /**
   * Gives `after` the positions that the kernel already has for `before` (a slot, an order), so that a removal need not move
   * the others. Pure; the identity where a Plan has no positions.
   */
  settle?(before: O, after: O): O;
  /** Ours in the kernel now. Rejects when the kernel or its tool cannot be asked. */
  read(): Promise<Plan<O>>;
  /**
   * Makes `changes` true, starting from `current`, which it may turn into the Plan that it returns; idempotent. Objects that the kernel refuses are reported, the others
   * programmed. Rejects when nothing more can be done (tool missing, permission): the caller reads again and retries.
   */
  apply(changes: Changes<O>, current: Plan<O>): Promise<Applied<O>>;
  /** Leaves the rules in place; with `cleanup`, removes ours and nothing else. */
  close(options: { cleanup: boolean }): Promise<void>;
}
