import { isDeepStrictEqual } from 'node:util';
import type { Changes, Plan } from './backend.ts';

export interface DiffOptions<O> {
  /** See Backend.settle. */
  readonly settle?: ((before: O, after: O) => O) | undefined;
}

/** What must happen so that `previous` becomes `next`. Empty when they are equal. */
export function diff<O>(
  previous: ReadonlyMap<string, O>,
  next: ReadonlyMap<string, O>,
  { settle }: DiffOptions<O> = {},
): Changes<O> {
  const created = new Map<string, O>();
  const updated = new Map<string, { before: O; after: O }>();
  const deleted = new Map<string, O>();
  for (const [key, wanted] of next) {
    const before = previous.get(key);
    if (before === undefined) {
      created.set(key, wanted);
      continue;
    }
    const after = settle === undefined ? wanted : settle(before, wanted);
    if (!isDeepStrictEqual(before, after)) updated.set(key, { before, after });
  }
  for (const [key, before] of previous) if (!next.has(key)) deleted.set(key, before);
  return { created, updated, deleted };
}

/** Nothing created, updated or deleted. */
export function isEmpty(changes: Changes<unknown>): boolean {
  return changeCount(changes) === 0;
}

export function changeCount(changes: Changes<unknown>): number {
  return changes.created.size + changes.updated.size + changes.deleted.size;
}

/**
 * Turns `plan` into what it is after `changes`, without the keys in `except` (those failed and stay as they were). In place:
 * a copy would cost every change as much as all objects together.
 */
export function patch<O>(plan: Plan<O>, changes: Changes<O>, except: ReadonlySet<string> = new Set()): Plan<O> {
  for (const key of changes.deleted.keys()) if (!except.has(key)) plan.delete(key);
  for (const [key, object] of changes.created) if (!except.has(key)) plan.set(key, object);
  for (const [key, { after }] of changes.updated) if (!except.has(key)) plan.set(key, after);
  return plan;
}
