/** The agent as the daemon runs it, in the network namespace that this process is in. Ends with its standard input, or by a signal. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentSettings } from '../../src/cni/agent/parts.ts';
import { AgentThread } from '../../src/cni/host/thread.ts';
import type { RulesKind } from '../../src/cni/rules/choosing.ts';
import { AGENT_SOCKET, DEFERRED_DIRECTORY } from '../../src/cni/types.ts';
import { createLogger } from '../../src/log.ts';

const { directory, settings, rules } = JSON.parse(process.argv[2] ?? '') as {
  directory: string;
  settings: AgentSettings;
  rules?: RulesKind;
};
mkdirSync(directory, { recursive: true, mode: 0o700 });
const thread = new AgentThread({
  socketPath: join(directory, AGENT_SOCKET),
  deferredDirectory: join(directory, DEFERRED_DIRECTORY),
  stateDirectory: join(directory, 'state'),
  settings,
  ...(rules === undefined ? {} : { rules }),
  log: createLogger({ level: 'info' }),
  onDeath: error => {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  },
});
const end = async () => {
  await thread[Symbol.asyncDispose]();
  process.exit(0);
};
process.on('SIGTERM', () => void end());
process.stdin.on('end', () => void end());
process.stdin.on('data', line => {
  const asked = JSON.parse(line.toString()) as { settings?: AgentSettings; call?: 'list' | 'readings' };
  if (asked.settings !== undefined) thread.tell(asked.settings);
  if (asked.call !== undefined)
    void thread.call(asked.call).then(value => process.stdout.write(`${JSON.stringify({ value })}\n`));
});
await thread.started;
process.stdout.write('"started"\n');
