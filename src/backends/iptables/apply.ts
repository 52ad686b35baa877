import { ExecError, type Output, type RunOptions, run as runProgram } from '../../linux/exec.ts';
import type { Shell } from '../../linux/shell.ts';
import type { Logger } from '../../log.ts';
import type { Applied, ApplyFailure, Changes, KernelCallOptions, Plan } from '../backend.ts';
import { patch } from '../diff.ts';
import type { NftGeneration } from './generation.ts';
import type { IptablesObject } from './objects.ts';
import { lineCount, render, renderParts, type Step, stepsOf } from './render.ts';
import type { IptablesTools } from './tools.ts';
import { runLocked } from './xtables-lock.ts';

export interface IptablesIO {
  readonly tools: IptablesTools;
  /** Starts programs; the default is this process's own network namespace. */
  readonly run?: typeof runProgram;
  /** Starts the tools of short calls, which is most of what these take; without it, `run` does. */
  readonly shell?: Shell;
  /** For what an operator must know and isn't an error: who holds the lock, what an earlier start left. */
  readonly log?: Pick<Logger, 'info' | 'warn'>;
  /** Counts what this process commits to nf_tables in the network namespace of `run`; without it, drift costs a look at the rules. */
  readonly generation?: NftGeneration;
}

/**
 * Lines in one call of iptables-nft-restore. Its user space is quadratic in the size of its input (2 000 Services of ten
 * endpoints: 15 s in one call, 2 s in thirty), so a full load goes in parts.
 */
const BATCH_LINES = 3000;

/** The restore of one batch or of a whole legacy table takes seconds at most; this is for a tool that hangs. */
const TIMEOUT_MS = 60_000;

/** An ordinary change is a few kB. */
const SHORT_INPUT = 64 * 1024;

/** Carries `changes` out, in as few calls as the variant likes; see Backend.apply. */
export async function applyChanges(
  changes: Changes<IptablesObject>,
  current: Plan<IptablesObject>,
  { io, ...options }: { readonly io: IptablesIO } & KernelCallOptions,
): Promise<Applied<IptablesObject>> {
  const steps = stepsOf(changes);
  const failures: ApplyFailure[] = [];
  const batches = io.tools.variant === 'legacy' ? wholeTables(steps) : batchesOf(steps);
  for (const batch of batches) failures.push(...(await applySteps(batch, { io, ...options })));
  return { plan: patch(current, changes, new Set(failures.map(({ key }) => key))), failures };
}

/**
 * The steps in parts of one call each: not too long, and of one table, because iptables-restore commits table by table: a call that
 * is refused has then changed nothing.
 */
export function* batchesOf(steps: readonly Step[]): Iterable<Step[]> {
  let batch: Step[] = [];
  let lines = 0;
  for (const step of steps) {
    const isOtherTable = batch[0] !== undefined && batch[0].object.table !== step.object.table;
    if (isOtherTable || lines >= BATCH_LINES) {
      yield batch;
      batch = [];
      lines = 0;
    }
    batch.push(step);
    lines += lineCount(step);
  }
  if (batch.length > 0) yield batch;
}

/**
 * For legacy, where each call copies the whole table out of the kernel and back: nat in one call, between what comes to
 * filter and what goes from it, because a refusal is there before its entry in nat goes, and goes after its entry came.
 */
export function wholeTables(steps: readonly Step[]): Step[][] {
  const nat = steps.filter(({ object }) => object.table === 'nat');
  const filter = steps.filter(({ object }) => object.table === 'filter');
  const calls = nat.length === 0 ? [filter] : [filter.filter(isAddition), nat, filter.filter(isRemoval)];
  return calls.filter(call => call.length > 0);
}

const isRemoval = (step: Step) => step.isRemoval;
const isAddition = (step: Step) => !step.isRemoval;

/**
 * One call for all steps; when it is refused, the halves by themselves, so that one bad object costs only itself. A call
 * that fails with nothing in it to refuse (no permission, no tool) rejects.
 */
export async function applySteps(
  steps: readonly Step[],
  call: { readonly io: IptablesIO } & KernelCallOptions,
): Promise<ApplyFailure[]> {
  try {
    await restoreSteps(steps, call);
    return [];
  } catch (error) {
    if (!isRefusal(error)) throw error;
    const [only] = steps;
    if (only !== undefined && steps.length === 1) {
      await restore(`*${only.object.table}\nCOMMIT\n`, call);
      return [{ key: only.key, error }];
    }
    const middle = Math.ceil(steps.length / 2);
    return [...(await applySteps(steps.slice(0, middle), call)), ...(await applySteps(steps.slice(middle), call))];
  }
}

/** Whether the tool ran and said no, which may be for one object's sake. */
export function isRefusal(error: unknown): error is ExecError {
  return error instanceof ExecError && error.exitCode !== -1;
}

async function restoreSteps(steps: readonly Step[], call: { readonly io: IptablesIO } & KernelCallOptions) {
  const { tools, generation } = call.io;
  // A whole table is tens of MB: its text is made while the tool reads it.
  if (tools.variant === 'legacy') await restore({ [Symbol.iterator]: () => renderParts(steps) }, call);
  else if (generation === undefined) await restore(render(steps), call);
  else await generation.counting(() => restore(render(steps), call));
}

export function restore(
  input: NonNullable<RunOptions['input']>,
  { io, signal }: { readonly io: IptablesIO } & KernelCallOptions,
): Promise<Output> {
  const { tools, run = runProgram, shell, log } = io;
  const options = { input, timeoutMs: TIMEOUT_MS };
  if (tools.variant === 'nft') {
    const isShort = typeof input === 'string' && input.length <= SHORT_INPUT;
    if (shell !== undefined && isShort) return shell.run(tools.restore, ['--noflush'], { ...options, input });
    return run(tools.restore, ['--noflush'], options);
  }
  return runLocked({ file: tools.restore, args: ['--noflush'], options, run, signal, log });
}
