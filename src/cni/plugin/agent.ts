/** Asks the agent. */
import { utf8 } from '../deferred.ts';
import { readError } from '../spec/errors.ts';
import { isObject } from '../spec/json.ts';
import { readResult } from '../spec/read-result.ts';
import {
  AGENT_PROTOCOL,
  AGENT_SOCKET,
  type AgentReply,
  type AgentRequest,
  CniError,
  type CniResult,
  CODE,
  DEFAULT_RUNTIME_DIR,
} from '../types.ts';
import { type Call, endedEarly, isFailed, warn } from './call.ts';
import type { Failed } from './host.ts';

/** unix(7): sun_path without its NUL. */
const MAX_SOCKET_PATH_BYTES = 107;

/** Milliseconds that the agent has for all of an answer. */
export const TIMEOUT_MS = { ADD: 9000, CHECK: 9000, GC: 9000, STATUS: 1500, DEL: 3000 } as const;

/** What the agent did isn't known: an ADD is undone. */
export class UnknownOutcome extends CniError {}

/** The agent didn't answer, and might later. */
export type Unanswered = Failed<'absent' | 'timeout' | 'closed'>;

/** The daemon's. @throws CniError 7 */
export function runtimeDirectory({ configuration }: Call): string {
  const directory = configuration.config.kproxyRuntimeDir ?? DEFAULT_RUNTIME_DIR;
  const wrong = (problem: string) => new CniError(CODE.badConfiguration, `kproxyRuntimeDir: ${problem}`);
  if (typeof directory !== 'string' || !directory.startsWith('/')) throw wrong('must be an absolute path');
  const most = MAX_SOCKET_PATH_BYTES - AGENT_SOCKET.length - 1;
  if (utf8(directory).length > most)
    throw wrong(`is longer than the ${most} bytes that leave room for a socket's name`);
  return directory;
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
    ...{ protocol: AGENT_PROTOCOL, command: call.verb, containerID, ifname, netns, args },
    config: isDelegated(call) ? { ...config, kproxyDelegated: true } : config,
    ...(ipamResult === undefined ? {} : { ipamResult }),
  };
}

/** What is not for the standard error of an answer. */
export type Reply = Pick<AgentReply, 'result' | 'formerIpam'>;

/** What the agent gives. @throws CniError what it says; 103: not ours to ask; 11: see UnknownOutcome */
export function ask(call: Call, request: AgentRequest): Reply | Unanswered {
  const socket = `${runtimeDirectory(call)}/${AGENT_SOCKET}`;
  const answer = call.host.exchange(socket, JSON.stringify(request), TIMEOUT_MS[request.command]);
  if (!isFailed(answer)) return readReply(call, answer);
  const { failure, message } = answer;
  switch (failure) {
    case 'denied':
      throw new CniError(CODE.kernel, `may not use the agent's socket ${socket}`, message);
    case 'ended': {
      const { code, message: words } = endedEarly('while the agent was at work');
      throw new UnknownOutcome(code, words);
    }
    default:
      return { failure, message };
  }
}

/** For verbs that can't do without the agent. @throws CniError as ask(), and with `code` when there is no answer */
export function askNow(call: Call, request: AgentRequest, code: number): Reply {
  const answer = ask(call, request);
  if (!isFailed(answer)) return answer;
  throw new CniError(code, `the agent of kproxy-ts ${WORDS[answer.failure]}`, answer.message);
}

export const WORDS: Readonly<Record<Unanswered['failure'], string>> = {
  absent: 'is not running',
  timeout: 'did not answer in time',
  closed: 'went away without an answer',
};

function readReply({ host }: Call, line: string): Reply {
  const { protocol, error, result, formerIpam, warnings } = decoded(line);
  if (protocol !== AGENT_PROTOCOL)
    throw senseless(`it is of protocol ${JSON.stringify(protocol)}, not ${AGENT_PROTOCOL}`);
  for (const warning of Array.isArray(warnings) ? warnings : []) warn(host, String(warning));
  if (error !== undefined) throw readError(error) ?? senseless(`its error is ${JSON.stringify(error)}`);
  if (result === undefined) return isObject(formerIpam) ? { formerIpam } : {};
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

/** Another version's, or none: nothing is taken from it. */
export const senseless = (details: string) =>
  new UnknownOutcome(
    CODE.tryAgain,
    "the agent's answer makes no sense: are the plugin and the daemon of one version?",
    details,
  );

function senselessly(details: string): never {
  throw senseless(details);
}
