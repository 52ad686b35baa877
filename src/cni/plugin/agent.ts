/** Asks the agent. */
import { readError } from '../spec/errors.ts';
import { isObject } from '../spec/json.ts';
import { readResult } from '../spec/read-result.ts';
import { AGENT_SOCKET, type AgentRequest, CniError, type CniResult, CODE, DEFAULT_RUNTIME_DIR } from '../types.ts';
import { type Call, isFailed, warn } from './call.ts';
import type { Failed } from './host.ts';

/** Milliseconds that the agent has for all of an answer. */
export const TIMEOUT_MS = { ADD: 9000, CHECK: 9000, GC: 9000, STATUS: 1500, DEL: 3000 } as const;

/** The agent didn't answer, and might later. */
export type Unanswered = Failed<'absent' | 'timeout' | 'closed'>;

/** The daemon's. @throws CniError 7 */
export function runtimeDirectory({ configuration }: Call): string {
  const directory = configuration.config.kproxyRuntimeDir ?? DEFAULT_RUNTIME_DIR;
  if (typeof directory === 'string' && directory.startsWith('/')) return directory;
  throw new CniError(CODE.badConfiguration, 'kproxyRuntimeDir: must be an absolute path');
}

/** `ipam` is ours, but the plugin that makes the interface is another one. */
export function isDelegated({ configuration }: Call): boolean {
  return configuration.isDelegated;
}

export function requestOf(call: Call, netns: string, ipamResult?: CniResult): AgentRequest {
  const { containerID, ifname, args } = call.environment;
  // Ours to say, not the configuration's.
  const { kproxyDelegated: _, ...config } = call.configuration.config;
  return {
    ...{ protocol: 1, command: call.verb, containerID, ifname, netns, args },
    config: isDelegated(call) ? { ...config, kproxyDelegated: true } : config,
    ...(ipamResult === undefined ? {} : { ipamResult }),
  };
}

/** The result that the agent gives, if it gives one. @throws CniError what it says; 103: not ours to ask; 5: no answer that makes sense */
export function ask(call: Call, request: AgentRequest): { readonly result?: CniResult } | Unanswered {
  const socket = `${runtimeDirectory(call)}/${AGENT_SOCKET}`;
  const answer = call.host.exchange(socket, JSON.stringify(request), TIMEOUT_MS[request.command]);
  if (!isFailed(answer)) return readReply(call, answer);
  const { failure, message } = answer;
  if (failure === 'denied') throw new CniError(CODE.kernel, `may not use the agent's socket ${socket}`, message);
  return { failure, message };
}

/** For verbs that can't do without the agent. @throws CniError as ask(), and with `code` when there is no answer */
export function askNow(call: Call, request: AgentRequest, code: number): { readonly result?: CniResult } {
  const answer = ask(call, request);
  if (!isFailed(answer)) return answer;
  throw new CniError(code, `the agent of kproxy-ts ${WORDS[answer.failure]}`, answer.message);
}

export const WORDS: Readonly<Record<Unanswered['failure'], string>> = {
  absent: 'is not running',
  timeout: 'did not answer in time',
  closed: 'went away without an answer',
};

function readReply({ host }: Call, line: string): { readonly result?: CniResult } {
  const reply = decoded(line);
  const { error, result, warnings } = reply;
  for (const warning of Array.isArray(warnings) ? warnings : []) warn(host, String(warning));
  if (error !== undefined) throw readError(error) ?? senseless(`its error is ${JSON.stringify(error)}`);
  if (result === undefined) return {};
  try {
    return { result: readResult(result, '1.1.0', 'result') };
  } catch (problem) {
    throw problem instanceof CniError ? senseless(problem.message) : problem;
  }
}

function decoded(line: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw senseless(error instanceof Error ? error.message : String(error));
  }
  return isObject(value) ? value : senselessly('it is no JSON object');
}

const senseless = (details: string) => new CniError(CODE.io, "the agent's answer makes no sense", details);

function senselessly(details: string): never {
  throw senseless(details);
}
