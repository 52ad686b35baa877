import { existsSync } from 'node:fs';
import { ExecError, run as runProgram } from './linux/exec.ts';
import type { Log } from './watch/log.ts';

export interface PredecessorOptions {
  readonly log: Log;
  /** `--take-over`: its tables go, so they are no reason to warn. */
  readonly takesOver?: boolean;
  readonly run?: typeof runProgram;
  /** Whether a file exists; for /sys/class/net. */
  readonly exists?: (path: string) => boolean;
}

/** What kube-proxy's IPVS mode keeps its addresses on. */
const IPVS_LINK = 'kube-ipvs0';
const TIMEOUT_MS = 10_000;

/**
 * Warns of what kube-proxy left behind in its other modes. Its iptables rules are adopted; but its nftables table and its IPVS services
 * stay in force beside ours, with the endpoints of then, and get the packets first. They are not ours to remove, unless asked to.
 */
export async function warnOfPredecessors({
  log,
  takesOver = false,
  run = runProgram,
  exists = existsSync,
}: PredecessorOptions): Promise<void> {
  for (const table of takesOver ? [] : await kubeProxyTables(run, log)) {
    log.warn(
      { component: 'config' },
      `kube-proxy's nftables rules are on this node and send packets to the endpoints of then: run with --take-over, or remove them with 'nft delete ${table}'`,
    );
  }
  if (exists(`/sys/class/net/${IPVS_LINK}`)) {
    log.warn(
      { component: 'config' },
      `kube-proxy's IPVS addresses are on this node (${IPVS_LINK}) and answer in place of our rules: remove them with 'kube-proxy --cleanup'`,
    );
  }
}

/** `table ip kube-proxy`, as nft lists them. */
async function kubeProxyTables(run: typeof runProgram, log: Log): Promise<string[]> {
  try {
    const { stdout } = await run('nft', ['list', 'tables'], { timeoutMs: TIMEOUT_MS });
    return stdout.split('\n').filter(line => /^table ip6? kube-proxy$/.test(line));
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    log.info({ component: 'config', err: error }, 'whether kube-proxy left nftables rules behind is not known');
    return [];
  }
}
