import type { NftKernel, Refusal } from '../../linux/nf-tables.ts';
import type { IPFamily } from '../../net/ip.ts';
import { attributesIn, MessageWriter, textOf } from '../../netfilter/attributes.ts';
import { BatchWriter, NFT } from '../../netfilter/messages.ts';
import type { Applied, ApplyFailure, Changes, KernelCallOptions, Plan } from '../backend.ts';
import { patch } from '../diff.ts';
import { dump } from './dumps.ts';
import { errnoText, NOT_OF_AN_OBJECT } from './errno.ts';
import { TABLE } from './names.ts';
import type { ChainObject, NftObject } from './objects.ts';
import { layoutOf } from './packet.ts';
import { rebuildingSteps, type Step, stepsOf, transactionsOf, writeSteps } from './render.ts';

export interface ApplyContext extends KernelCallOptions {
  readonly kernel: NftKernel;
  readonly family: IPFamily;
  /** Called after each commit. */
  readonly onCommit?: () => void;
}

/** The kernel refused an object, or a commit. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  readonly errno: number;

  constructor(what: string, errno: number) {
    super(`the kernel refuses ${what}: ${errnoText(errno)}`);
    this.errno = errno;
  }
}

const ENOENT = 2;

/**
 * Makes `changes` true: one transaction, or more where packets or the kernel need it, or it would be larger than the socket takes. When the kernel refuses, the halves are tried by
 * themselves, so one object that it refuses costs itself only. `current` becomes the Plan that is returned.
 */
export async function applyChanges(
  changes: Changes<NftObject>,
  current: Plan<NftObject>,
  context: ApplyContext,
): Promise<Applied<NftObject>> {
  if ([...changes.updated.values()].some(isFixed)) return rebuild(changes, current, context);
  const steps = stepsOf(changes, context.family);
  const isNewTable = steps.some(({ kind }) => kind === 'new-table');
  const failures = new Map<string, Error>();
  for (const part of transactionsOf(steps)) await commitAll(part, { ...context, isNewTable, failures });
  return { plan: patch(current, changes, new Set(failures.keys())), failures: listOf(failures) };
}

/** What the kernel gives no other form once it is there: sets, and where a chain hangs. */
function isFixed({ before, after }: { readonly before: NftObject; readonly after: NftObject }): boolean {
  if (after.kind === 'set') return true;
  return before.kind === 'chain' && after.kind === 'chain' && placeOf(before) !== placeOf(after);
}

function placeOf({ base }: ChainObject): string {
  return base === undefined ? '' : `${base.type} ${base.hook} ${base.priority}`;
}

async function rebuild(
  changes: Changes<NftObject>,
  current: Plan<NftObject>,
  context: ApplyContext,
): Promise<Applied<NftObject>> {
  const plan = patch(current, changes);
  const failures = new Map<string, Error>();
  await commitAll(rebuildingSteps(plan, context.family), { ...context, isNewTable: true, failures });
  for (const key of failures.keys()) plan.delete(key);
  return { plan, failures: listOf(failures) };
}

function listOf(failures: ReadonlyMap<string, Error>): ApplyFailure[] {
  return [...failures].map(([key, error]) => ({ key, error }));
}

interface Commit extends ApplyContext {
  readonly isNewTable: boolean;
  readonly failures: Map<string, Error>;
}

async function commitAll(steps: readonly Step[], context: Commit): Promise<void> {
  const { kernel, signal } = context;
  for (let from = 0; from < steps.length; ) {
    signal?.throwIfAborted();
    const batch = written(steps, from, context);
    const refusals = await kernel.commit(batch.bytes);
    if (refusals.length === 0) context.onCommit?.();
    if (refusals.length > 0) await isolate(steps.slice(from, batch.end), refusals, context);
    from = batch.end;
  }
}

/** One batch of the steps from `from` on. */
function written(
  steps: readonly Step[],
  from: number,
  { kernel, family }: Commit,
): { readonly bytes: Buffer; readonly end: number } {
  const out = new MessageWriter(Math.min(kernel.batchBytes, 4096 + (steps.length - from) * 128));
  const batch = new BatchWriter(out, { family: layoutOf(family).protocol, table: TABLE, sequence: 0 });
  batch.beginBatch();
  const end = writeSteps(batch, steps, { from, limit: kernel.batchBytes, family });
  batch.endBatch();
  return { bytes: out.bytes(), end };
}

/**
 * Finds whose steps the kernel refuses, and commits the others': first what others refer to, then the rest, each by halves of the objects until
 * one stands alone.
 */
async function isolate(steps: readonly Step[], refusals: readonly Refusal[], context: Commit): Promise<void> {
  const { errno } = refusals[0]!;
  const { failures } = context;
  if (NOT_OF_AN_OBJECT.has(errno)) throw new RefusedError('a transaction', errno);
  if (errno === ENOENT && !context.isNewTable && !(await hasTable(context))) {
    throw new RefusedError('all changes: somebody deleted the table', errno);
  }
  const parts = partsOf(steps);
  const [only] = steps;
  if (only === undefined) return;
  if (parts.length === 1) {
    failures.set(only.key, new RefusedError(only.key, errno));
    return;
  }
  // Of an object that was refused in part nothing more is tried.
  for (const part of parts)
    await commitAll(
      part.filter(({ key }) => !failures.has(key)),
      context,
    );
}

/** The steps in parts that don't depend on later ones; a single one when all are of one object. */
function partsOf(steps: readonly Step[]): Step[][] {
  const phases = [0, 1, 2].map(phase => steps.filter(step => phaseOf(step) === phase)).filter(list => list.length > 0);
  if (phases.length > 1) return phases;
  const keys = [...new Set(steps.map(({ key }) => key))];
  if (keys.length === 1) return [[...steps]];
  const first = new Set(keys.slice(0, keys.length >> 1));
  return [steps.filter(({ key }) => first.has(key)), steps.filter(({ key }) => !first.has(key))];
}

/** What has a name comes before rules that say it, and rules before elements. */
function phaseOf({ kind }: Step): number {
  if (kind === 'delete-table' || kind === 'new-table' || kind === 'new-set' || kind === 'new-chain') return 0;
  return kind === 'rules' ? 1 : 2;
}

/** Whether there is a table of ours. */
export async function hasTable({ kernel, family }: ApplyContext): Promise<boolean> {
  return (await dump(kernel, { type: NFT.getTable, family, table: TABLE })).some(({ payload }) => {
    const name = attributesIn(payload).get(1);
    return name !== undefined && textOf(name) === TABLE;
  });
}
