/** What a lab is asked to be, and the state that it begins with. */
import { kproxyProgram } from './install.ts';
import { kernelHasIPv6 } from './netns.ts';
import { isAlive, startTimeOf } from './process.ts';
import { readState, StateFile } from './state.ts';

export interface LabOptions {
  readonly name: string;
  /** Pods of the Service `web`, spread over the nodes in turn. Default 4. */
  readonly pods?: number;
  /** false: no daemon on the nodes, so that a test brings its own. Default true. */
  readonly daemons?: boolean;
  /** kube-proxy's `mode`; '' = the daemons choose. Default iptables, which most tests are about; the command's is ''. */
  readonly mode?: string;
  /** What is run as `PROGRAM run --config FILE --runtime-dir DIR` on each node. Default: this project's own launcher. */
  readonly daemonProgram?: string;
  /** false: the API server stores impossible objects too. Default true. */
  readonly validate?: boolean;
  /** false: IPv4 only. Default: dual stack, if the kernel has IPv6. */
  readonly ipv6?: boolean;
  /** The daemons answer the cluster's names, and pods ask them. Default false; the command's is true. */
  readonly dns?: boolean;
  /** The daemons give pods their network, by kproxy-cni, as a container runtime has it. Default false: `ip` does. The command's is true. */
  readonly cni?: boolean;
  readonly signal?: AbortSignal;
}

/** @throws when a lab of this name is up, or its owner lives */
export async function refuseSecond(name: string): Promise<void> {
  const state = readState(name);
  if (state === null) return;
  if (state.owner === null && state.phase === 'ready') {
    throw new Error(`lab '${name}' is up already: 'kproxy-ts lab down' removes it, --name makes another`);
  }
  if (state.owner !== null && (await isAlive(state.owner))) {
    throw new Error(`lab '${name}' belongs to process ${state.owner.pid}: end that first, or use --name`);
  }
}

/** Writes the first state of a lab. */
export async function newState(name: string, options: LabOptions): Promise<StateFile> {
  return new StateFile({
    version: 4,
    name,
    startedAt: new Date().toISOString(),
    phase: 'starting',
    owner: { pid: process.pid, startTime: (await startTimeOf(process.pid)) ?? '' },
    namespaces: [],
    hasIPv6: (options.ipv6 ?? true) && kernelHasIPv6(),
    hasDns: options.dns ?? false,
    hasCni: (options.cni ?? false) && (options.daemons ?? true),
    mode: options.mode ?? 'iptables',
    daemonProgram: options.daemonProgram ?? kproxyProgram,
    control: null,
    daemons: {},
    pods: [],
    podsEver: {},
  });
}
