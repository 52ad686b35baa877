import type { Configuration } from '../config/configuration.ts';
import type { ProxyMode } from '../config/proxy-modes.ts';
import type { KernelSetting } from '../conntrack/settings.ts';
import type { DumpFamily } from '../dump/state.ts';
import type { run as runProgram } from '../linux/exec.ts';
import type { Logger } from '../log.ts';
import type { KubeProxyTraces } from '../take-over/kube-proxy-rules.ts';
import type { IPFamily } from '../watch/objects.ts';
import type { KernelCallOptions } from './backend.ts';
import type { FamilyBackend } from './family-backend.ts';

/** One way to carry Services on this node: what is done for it beside and before the families' backends. */
export interface Mode {
  readonly name: ProxyMode;
  /** Why this node can't be programmed so; undefined = it can, as far as can be told without a change. Asked when nobody said which mode to use. */
  obstacle(): Promise<string | undefined>;
  /** Finds out what it takes, with a line in the log for each decision. @throws NoUsableFamilyError */
  settle(configuration: Configuration, log: Logger): Promise<SettledMode>;
  /** For `run --init-only`: does what a daemon can't without write access to /proc/sys, and names the settings to be made. */
  prepareNode(configuration: Configuration, log: Logger): Promise<readonly KernelSetting[]>;
  /** What the kernel has of this mode, for `dump` where no daemon answers. @throws ModeUnavailableError */
  readFamilies(options: { readonly run?: typeof runProgram }): Promise<readonly DumpFamily[]>;
  /**
   * Takes everything of ours in this mode out of this network namespace, and nothing else. Resolves to how many objects went; rejects when some
   * can't be removed, after having removed the others. @throws ModeUnavailableError
   */
  removeEverywhere(): Promise<number>;
  /**
   * Another mode has been programmed: takes what this one left in a family out of the kernel. Never rejects but by `signal`: what can't be removed is
   * in the log.
   */
  removeLeftovers(family: IPFamily, options: { readonly log: Logger } & KernelCallOptions): Promise<void>;
  /** What kube-proxy leaves in its mode of this name. */
  readonly kubeProxy: KubeProxyTraces;
}

/** A mode that this node can be programmed in. */
export interface SettledMode {
  readonly families: readonly IPFamily[];
  newBackend(family: IPFamily): FamilyBackend<unknown>;
}

/** Nothing on this node lets us ask the kernel for what a mode has there; the message says what is missing. */
export class ModeUnavailableError extends Error {
  override readonly name = 'ModeUnavailableError';
}

/** A family that can't be programmed on this node, and why, for the operator. */
export interface MissingFamily {
  readonly family: IPFamily;
  readonly reason: string;
}

/** No family can be programmed, so there is nothing to run for; the rules are as they were. */
export class NoUsableFamilyError extends Error {
  override readonly name = 'NoUsableFamilyError';

  constructor(mode: ProxyMode, missing: readonly MissingFamily[]) {
    const reasons = missing.map(({ family, reason }) => `${family}: ${reason}`);
    super(`${mode} cannot be used on this node; its rules are untouched\n${reasons.join('\n')}`);
  }
}
