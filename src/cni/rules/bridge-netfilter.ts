/**
 * Whether what one pod sends another one over the bridge passes netfilter (bridge-nf-call-*, net/bridge/br_netfilter_hooks.c). A pod that reaches another one of its own bridge by a
 * Service needs that: the answer, which is bridged, else keeps the endpoint's address. The settings are each network namespace's own.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { ExecError, run as runProgram } from '../../linux/exec.ts';
import type { IPFamily } from '../../net/ip.ts';

const DIRECTORY = '/proc/sys/net/bridge';
const MODULE = 'br_netfilter';
const FILES: Readonly<Record<IPFamily, string>> = {
  IPv4: 'bridge-nf-call-iptables',
  IPv6: 'bridge-nf-call-ip6tables',
};
const MODPROBE_MS = 10_000;

export interface BridgeNetfilterOptions {
  readonly families: readonly IPFamily[];
  readonly run?: typeof runProgram;
  /** Other than /proc/sys/net/bridge for tests. */
  readonly directory?: string;
}

/** Has bridged traffic pass netfilter; loads the module where it is missing. To be called at the start: resolves to what still stops it. */
export async function enableBridgeNetfilter(options: BridgeNetfilterOptions): Promise<readonly string[]> {
  const { families, run = runProgram, directory = DIRECTORY } = options;
  const problems: string[] = [];
  if (families.some(family => read(directory, family) === undefined)) {
    try {
      await run('modprobe', [MODULE], { timeoutMs: MODPROBE_MS });
    } catch (error) {
      if (!(error instanceof ExecError)) throw error;
      problems.push(`the kernel module ${MODULE} can't be loaded: ${error.message}`);
    }
  }
  for (const family of families) {
    if (read(directory, family) !== '0') continue;
    try {
      writeFileSync(`${directory}/${FILES[family]}`, '1');
    } catch (error) {
      problems.push(`${FILES[family]} can't be set: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return [...problems, ...bridgeNetfilterProblems(options)];
}

/** For CHECK and STATUS: nothing where all is well. Two small files. */
export function bridgeNetfilterProblems({
  families,
  directory = DIRECTORY,
}: BridgeNetfilterOptions): readonly string[] {
  return families.flatMap(family => {
    const value = read(directory, family);
    if (value === '1') return [];
    const state = value === undefined ? `missing (no kernel module ${MODULE})` : value;
    return [`net.bridge.${FILES[family]} is ${state}: pods don't reach pods of their own bridge by Services`];
  });
}

/** undefined = there is no such setting. */
function read(directory: string, family: IPFamily): string | undefined {
  try {
    return readFileSync(`${directory}/${FILES[family]}`, 'utf8').trim();
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
