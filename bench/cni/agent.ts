/** The agent in a directory of its own, and the configuration that leads to it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentData } from '../../src/cni/agent/messages.ts';
import { AgentThread } from '../../src/cni/host/thread.ts';
import { AGENT_SOCKET, DEFERRED_DIRECTORY } from '../../src/cni/types.ts';
import { createLogger } from '../../src/log.ts';
import { type Chain, kproxyCni } from './runtime.ts';

export const directory = mkdtempSync(join(tmpdir(), 'kproxy-bench-cni-'));
export const log = createLogger({ level: 'silent' as 'error' });

export const agentData: AgentData = {
  socketPath: join(directory, AGENT_SOCKET),
  deferredDirectory: join(directory, DEFERRED_DIRECTORY),
  stateDirectory: join(directory, 'state'),
  settings: { podCIDRs: [], nonMasqueradeCIDRs: [] },
};

/** As the daemon runs it: in a thread of this process. */
export async function startAgent(): Promise<AsyncDisposable> {
  const agent = new AgentThread({
    ...agentData,
    log,
    onDeath: error => {
      throw error;
    },
  });
  await agent.started;
  return agent;
}

export const removeDirectory = () => rmSync(directory, { recursive: true, force: true });

export function ours(name: string, more: object, runtimeDir = directory): Chain {
  const config = {
    cniVersion: '1.0.0',
    name,
    type: 'kproxy-cni',
    bridge: 'ours0',
    isDefaultGateway: true,
    kproxyRuntimeDir: runtimeDir,
    ipam: { type: 'kproxy-cni', ranges: [[{ subnet: '10.10.0.0/16' }]] },
    ...more,
  };
  return [{ program: kproxyCni, config }];
}
