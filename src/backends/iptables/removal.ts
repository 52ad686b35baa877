import { ExecError } from '../../linux/exec.ts';
import type { Logger } from '../../log.ts';
import type { IPFamily } from '../../watch/objects.ts';
import type { KernelCallOptions, Plan } from '../backend.ts';
import { changeCount, diff } from '../diff.ts';
import { ModeUnavailableError } from '../mode.ts';
import { applyChanges, type IptablesIO } from './apply.ts';
import { CHAIN } from './names.ts';
import type { IptablesObject } from './objects.ts';
import { readExisting } from './read.ts';
import { describeToolError, FAMILIES, otherTools, toolsOf, VARIANTS } from './tools.ts';

/**
 * Takes every rule and chain of ours out of one variant and family; other programs' stay, and so do the kubelet's. So does what others have their packets
 * masqueraded by, if they do: a CNI plugin for host ports may (`externalSetMarkChain`). Resolves to how many objects went; rejects when one can't, and with
 * ExecError when the tool is missing or fails.
 */
export async function removeAll(io: IptablesIO, options: KernelCallOptions = {}): Promise<number> {
  const { plan: current, marking } = await readExisting(io);
  const changes = diff(current, marking.length === 0 ? new Map() : masqueradingOf(current));
  if (marking.length > 0)
    io.log?.info({ chains: marking }, `${CHAIN.markMasq} stays: ${marking.join(', ')} of others use it`);
  const { failures } = await applyChanges(changes, current, { io, ...options });
  if (failures.length > 0) {
    throw new AggregateError(
      failures.map(({ error }) => error),
      failures.map(({ key, error }) => `cannot remove ${key}: ${error.message}`).join('\n'),
    );
  }
  return changeCount(changes);
}

/** What makes the mark effective. */
function masqueradingOf(plan: Plan<IptablesObject>): Plan<IptablesObject> {
  const needed = [...plan].filter(([, object]) =>
    object.kind === 'rule'
      ? object.rule.endsWith(`-j ${CHAIN.postrouting}`)
      : object.name === CHAIN.markMasq || object.name === CHAIN.postrouting,
  );
  return new Map(needed);
}

/**
 * Takes our rules out of the variant that we don't use: the node's variant has changed, and packets would pass the old ones too.
 * Called once ours are programmed, so that Services work all the while. Never rejects but by `signal`: what cannot be removed is
 * in the log.
 */
export async function removeLeftovers(io: IptablesIO, options: KernelCallOptions = {}): Promise<void> {
  const tools = otherTools(io.tools);
  const where = `iptables-${tools.variant}`;
  try {
    const count = await removeAll({ ...io, tools }, options);
    if (count > 0) io.log?.info({ count }, `${count} rules and chains of ours were left in ${where}: removed`);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (error instanceof ExecError && error.isNotFound) return;
    io.log?.warn({ err: error }, `what an earlier start left in ${where} cannot be removed: packets pass it too`);
  }
}

/** The same of both variants, where another mode than iptables has been programmed. */
export async function removeFamily(
  family: IPFamily,
  { log, run, signal }: { readonly log: Logger } & Pick<IptablesIO, 'run'> & KernelCallOptions,
): Promise<void> {
  for (const variant of VARIANTS) {
    // In turn as if one were in use, and the other had been.
    const tools = toolsOf(variant, family);
    const io = { tools, log: log.child({ component: 'backend', family }), ...(run && { run }) };
    await removeLeftovers(io, signal === undefined ? {} : { signal });
  }
}

/**
 * Takes our rules out of both variants and both families of this network namespace. Tools that aren't installed have nothing in
 * the kernel that they could remove. Resolves to how many objects went; rejects, with all reasons, when some cannot be removed,
 * after having removed the others. @throws ModeUnavailableError when no tool is there
 */
export async function removeEverywhere(io: Omit<IptablesIO, 'tools'> = {}): Promise<number> {
  let count = 0;
  const missing: Error[] = [];
  const failed: unknown[] = [];
  const all = VARIANTS.flatMap(variant => FAMILIES.map(family => toolsOf(variant, family)));
  for (const tools of all) {
    try {
      count += await removeAll({ ...io, tools });
    } catch (error) {
      if (error instanceof ExecError && error.isNotFound) missing.push(new Error(describeToolError(error)));
      else failed.push(error);
    }
  }
  if (missing.length === all.length) throw new ModeUnavailableError(missing.map(messageOf).join('\n'));
  if (failed.length > 0) throw new AggregateError(failed, failed.map(messageOf).join('\n'));
  return count;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
