/** A DEL that the agent can't serve now: kept on disk, in a queue that the agent serves when it starts. */
import { deferredFileName, deferredText } from '../deferred.ts';
import { type AgentRequest, CODE, DEFERRED_DIRECTORY } from '../types.ts';
import { runtimeDirectory, type Unanswered, WORDS } from './agent.ts';
import { type Call, failureOf, warn } from './call.ts';

/** @throws CniError 104 when it can't be kept */
export function defer(call: Call, request: AgentRequest, why: Unanswered): void {
  const { containerID, ifname } = request;
  const directory = `${runtimeDirectory(call)}/${DEFERRED_DIRECTORY}`;
  const name = deferredFileName({ network: call.configuration.name, containerID, ifname });
  try {
    call.host.writeDurably(directory, name, deferredText(request));
  } catch (error) {
    throw failureOf(CODE.storage, `the DEL could not be kept in ${directory}`, error);
  }
  warn(call.host, `the agent ${WORDS[why.failure]}: it deletes ${containerID}/${ifname} later (${why.message})`);
}
