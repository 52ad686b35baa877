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

export interface KernelCallOptions {
  /** Aborts waiting for what another program holds; a call to the kernel that is under way is finished. */
  readonly signal?: AbortSignal;
}

/** What the kernel holds can't be told as long as another program leaves it so, though it takes our changes. */
export class UnreadableError extends Error {
  override readonly name = 'UnreadableError';
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
  /**
   * Whether routes of several Services may plan the object of this key, all of them the same: a change of one creates or updates it but
   * never deletes it; a full sync removes what nobody plans any more. Pure; absent where a Service's objects are its own. The ports of one Service may always plan
   * the same object.
   */
  isShared?(key: string): boolean;
  /**
   * Gives `after` the positions that the kernel already has for `before` (a slot, an order), so that a removal need not move
   * the others. Pure; the identity where a Plan has no positions.
   */
  settle?(before: O, after: O): O;
  /** What a ServicePort asks for and this backend doesn't do: a line for each, with the field and what happens instead. Pure; absent where it does everything. */
  unserved?(port: ServicePort): readonly string[];
  /** Ours in the kernel now. Rejects when the kernel or its tool cannot be asked, with UnreadableError where it only can't be told. */
  read(options?: KernelCallOptions): Promise<Plan<O>>;
  /**
   * For when `read` rejected with UnreadableError and nobody knows what we left there: what can be told; the other objects of ours are there with a
   * value that no Plan has, so that they are written or go. Rejects as `read` does where not even that can be told.
   */
  readByParts?(options?: KernelCallOptions): Promise<Plan<O>>;
  /**
   * Makes `changes` true, starting from `current`, which it may turn into the Plan that it returns; idempotent. Objects that the kernel refuses are reported, the others
   * programmed. Rejects when nothing more can be done (tool missing, permission, aborted): the caller reads again and retries.
   */
  apply(changes: Changes<O>, current: Plan<O>, options?: KernelCallOptions): Promise<Applied<O>>;
  /**
   * As `apply`, for a kernel that holds nothing of ours: makes `objects` true, which are planned while they are sent. Absent where that gains
   * nothing.
   */
  load?(objects: Iterable<readonly [string, O]>, options?: KernelCallOptions): Promise<Applied<O>>;
  /**
   * Whether somebody else may have changed our objects since `current`, which `read` or `apply` returned. Cheap beside `read`;
   * `signal` ends it at once. Absent where nobody else can. True isn't proof: the caller reads and compares.
   */
  hasDrifted?(current: Plan<O>, options?: KernelCallOptions): Promise<boolean>;
  /**
   * Calls back when somebody else may have changed our objects since they were read first, until `close`: `hasDrifted` then tells. Called once, after the first
   * sync. Absent where the kernel doesn't tell by itself.
   */
  follow?(onForeign: () => void): Promise<void>;
  /**
   * Called when all that a start has to program is programmed: takes away what an earlier one left elsewhere in the kernel and is
   * not used any more, while syncs go on. What cannot be done is logged; rejects only when `signal` ends its wait.
   */
  tidy?(options?: KernelCallOptions): Promise<void>;
  /** Leaves the rules in place; with `cleanup`, removes ours and nothing else. */
  close(options: { cleanup: boolean }): Promise<void>;
}
