import { ExecError, run as runProgram } from '../../linux/exec.ts';
import type { Applied, ApplyFailure, Changes, Plan } from '../backend.ts';
import { patch } from '../diff.ts';
import type { IptablesObject, Table } from './objects.ts';
import { parse } from './parse.ts';
import { lineCount, render, type Step, stepsOf } from './render.ts';
import type { IptablesTools } from './tools.ts';

export interface IptablesIO {
  readonly tools: IptablesTools;
  /** Starts programs; the default is this process's own network namespace. */
  readonly run?: typeof runProgram;
}

const TABLES: readonly Table[] = ['filter', 'nat'];

/**
 * Lines in one call of iptables-nft-restore. Its user space is quadratic in the size of its input (2 000 Services of ten
 * endpoints: 15 s in one call, 2 s in thirty), so a full load goes in parts.
 */
const BATCH_LINES = 3000;

/** iptables-nft-save of a large table and the restore of one batch take about a second; this is for a tool that hangs. */
const TIMEOUT_MS = 60_000;

/** Our objects in the kernel. Rejects with ExecError when the tool is missing or fails. */
export async function readPlan({ tools, run = runProgram }: IptablesIO): Promise<Plan<IptablesObject>> {
  const plan: Plan<IptablesObject> = new Map();
  for (const table of TABLES) {
    const { stdout } = await run(tools.save, ['-t', table], { timeoutMs: TIMEOUT_MS });
    for (const [key, object] of parse(stdout, table)) plan.set(key, object);
  }
  return plan;
}

/** Carries `changes` out, in batches; see Backend.apply. */
export async function applyChanges(
  changes: Changes<IptablesObject>,
  current: Plan<IptablesObject>,
  io: IptablesIO,
): Promise<Applied<IptablesObject>> {
  const steps = stepsOf(changes);
  const failures: ApplyFailure[] = [];
  for (const batch of batchesOf(steps)) failures.push(...(await applySteps(batch, io)));
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
 * One call for all steps; when it is refused, the halves by themselves, so that one bad object costs only itself. A call
 * that fails with nothing in it to refuse (no permission, no tool) rejects.
 */
async function applySteps(steps: readonly Step[], io: IptablesIO): Promise<ApplyFailure[]> {
  try {
    await restore(render(steps), io);
    return [];
  } catch (error) {
    if (!(error instanceof ExecError) || error.exitCode === -1) throw error;
    const [only] = steps;
    if (only !== undefined && steps.length === 1) {
      await restore(`*${only.object.table}\nCOMMIT\n`, io);
      return [{ key: only.key, error }];
    }
    const middle = Math.ceil(steps.length / 2);
    return [...(await applySteps(steps.slice(0, middle), io)), ...(await applySteps(steps.slice(middle), io))];
  }
}

async function restore(input: string, { tools, run = runProgram }: IptablesIO): Promise<void> {
  await run(tools.restore, ['--noflush'], { input, timeoutMs: TIMEOUT_MS });
}
