import { access } from 'node:fs/promises';
import { ExecError, run as runProgram } from '../../linux/exec.ts';
import type { IPFamily } from '../../watch/objects.ts';
import type { MissingFamily } from '../mode.ts';

/**
 * The kernel has two sets of iptables tables that know nothing of each other: those of nf_tables, and the old ones of
 * ip_tables. Whoever writes rules on a node must use the same as the rest of the node, or packets pass both in turn.
 */
export type Variant = 'nft' | 'legacy';

/** The programs of one variant and family, such as `iptables-nft-restore`. */
export interface IptablesTools {
  readonly variant: Variant;
  readonly family: IPFamily;
  /** For single rules. */
  readonly program: string;
  readonly save: string;
  readonly restore: string;
}

type Run = typeof runProgram;

export const VARIANTS: readonly Variant[] = ['nft', 'legacy'];
export const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

/** By name: the plain `iptables-save` is whichever of both the distribution's alternatives point to. */
export function toolsOf(variant: Variant, family: IPFamily): IptablesTools {
  const program = `${family === 'IPv6' ? 'ip6tables' : 'iptables'}-${variant}`;
  return { variant, family, program, save: `${program}-save`, restore: `${program}-restore` };
}

/** The same family's tools of the other variant. */
export function otherTools({ variant, family }: IptablesTools): IptablesTools {
  return toolsOf(variant === 'nft' ? 'legacy' : 'nft', family);
}

/** A large node's save of all tables takes about a second; this is for a tool that hangs. */
const TIMEOUT_MS = 60_000;

/** The kubelet's chains in mangle: the first exists to tell the variant (1.24 on), the second since 1.17. */
const KUBELET_CHAINS = /^:(?:KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY) /m;

export interface DetectedVariant {
  readonly variant: Variant;
  /** For the log: what decided. */
  readonly why: string;
}

/**
 * Which variant the rest of this node uses, as kubernetes-sigs/iptables-wrappers finds it: where the kubelet's chains are, else
 * where more rules are, else nft. A program that is missing or fails counts as no rules. Writes nothing and makes no table: legacy
 * is asked without `-t`, which would load the table's kernel module.
 */
export async function detectVariant({ run = runProgram }: { run?: Run } = {}): Promise<DetectedVariant> {
  const mangle = await savedText('nft', ['-t', 'mangle'], run);
  if (mangle.some(text => KUBELET_CHAINS.test(text))) return { variant: 'nft', why: "the kubelet's chains are there" };
  const legacy = await savedText('legacy', [], run);
  if (legacy.some(text => KUBELET_CHAINS.test(text))) {
    return { variant: 'legacy', why: "the kubelet's chains are there" };
  }
  const inLegacy = ruleCount(legacy);
  const inNft = ruleCount(await savedText('nft', [], run));
  const counts = `${inNft} rules in nft, ${inLegacy} in legacy, none of the kubelet's chains in either`;
  return { variant: inLegacy > inNft ? 'legacy' : 'nft', why: counts };
}

async function savedText(variant: Variant, args: readonly string[], run: Run): Promise<string[]> {
  const texts: string[] = [];
  for (const family of FAMILIES) {
    try {
      texts.push((await run(toolsOf(variant, family).save, args, { timeoutMs: TIMEOUT_MS })).stdout);
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
    }
  }
  return texts;
}

function ruleCount(texts: readonly string[]): number {
  let count = 0;
  for (const text of texts) count += text.match(/^-A /gm)?.length ?? 0;
  return count;
}

export interface UsableFamilies {
  readonly families: readonly IPFamily[];
  readonly missing: readonly MissingFamily[];
}

export interface UsableFamiliesOptions {
  readonly variant: Variant;
  readonly run?: Run;
  /** Whether the kernel knows IPv6 at all; `ipv6.disable=1` takes this file away. The default looks for it. */
  readonly hasIPv6?: () => Promise<boolean>;
}

/** Which families this node's tools and kernel can program. Changes nothing; never rejects for a family that can't. */
export async function usableFamilies(options: UsableFamiliesOptions): Promise<UsableFamilies> {
  const { variant, run = runProgram, hasIPv6 = defaultHasIPv6 } = options;
  const families: IPFamily[] = [];
  const missing: MissingFamily[] = [];
  for (const family of FAMILIES) {
    const hasFamily = family === 'IPv4' || (await hasIPv6());
    const reason = hasFamily ? await obstacle(toolsOf(variant, family), run) : 'the kernel has no IPv6';
    if (reason === undefined) families.push(family);
    else missing.push({ family, reason });
  }
  return { families, missing };
}

async function defaultHasIPv6(): Promise<boolean> {
  try {
    await access('/proc/net/if_inet6');
    return true;
  } catch {
    return false;
  }
}

/** Why one family's tools don't work, or undefined: both programs, and both tables as the kernel has them. */
async function obstacle(tools: IptablesTools, run: Run): Promise<string | undefined> {
  try {
    await run(tools.save, ['--version'], { timeoutMs: TIMEOUT_MS });
    // Parses and loads the tables, commits nothing.
    const input = '*filter\nCOMMIT\n*nat\nCOMMIT\n';
    await run(tools.restore, ['--noflush', '--test'], { input, timeoutMs: TIMEOUT_MS });
    return undefined;
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return isLockHeld(error) ? undefined : describeToolError(error);
  }
}

/** What to tell the operator about a tool that couldn't be used: for a missing one, what to install. */
export function describeToolError(error: ExecError): string {
  return error.isNotFound ? `${error.message} (Debian package iptables)` : error.message;
}

/** The same of whatever a sync may fail with. */
export function describeFailure(error: unknown): string {
  if (error instanceof ExecError) return describeToolError(error);
  return error instanceof Error ? error.message : String(error);
}

/**
 * Another program holds the xtables lock, which the legacy tools take before they read a table (exit status 4, RESOURCE_PROBLEM,
 * which means other things too: include/xtables.h and xtables_lock_or_exit of iptables 1.8).
 */
export function isLockHeld(error: unknown): boolean {
  return error instanceof ExecError && error.exitCode === 4 && error.stderr.includes('xtables lock');
}
