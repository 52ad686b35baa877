/** The verbs of pods' attachments: the agent does the work. */
import { asCniError, joined } from '../spec/errors.ts';
import type { Json } from '../spec/json.ts';
import { addressesOnly, inexpressible } from '../spec/print-result.ts';
import { promisedAddresses } from '../spec/promised.ts';
import { CniError, type CniResult, CODE } from '../types.ts';
import { ask, askNow, isDelegated, requestOf, runtimeDirectory, senseless, UnknownOutcome } from './agent.ts';
import { type Call, endedEarly, isFailed, requirePrivileges, warn } from './call.ts';
import { defer } from './deferring.ts';
import {
  addByDelegate,
  type Delegate,
  findDelegate,
  forward,
  isOwnIpam,
  undoByDelegate,
  withIpam,
} from './delegate.ts';
import { netnsIfThere, type PodNetns, requireNetns } from './netns.ts';

/** The result of an ADD. @throws CniError */
export function attachment(call: Call): CniResult | undefined {
  requirePrivileges(call.host);
  runtimeDirectory(call);
  switch (call.verb) {
    case 'ADD':
      return add(call);
    case 'DEL':
      return del(call);
    case 'CHECK':
      return check(call);
    case 'GC':
      return gc(call);
    case 'STATUS':
      return status(call);
  }
}

function add(call: Call): CniResult {
  const netns = requireNetns(call.host, call.environment.netns);
  refuseInexpressible(call);
  const delegate = findDelegate(call);
  const ipamResult = delegate === undefined ? undefined : addByDelegate(call, delegate);
  try {
    const result = addByAgent(call, netns, ipamResult);
    return isDelegated(call) ? addressesOnly(result) : result;
  } catch (error) {
    if (delegate !== undefined) undoByDelegate(call, delegate);
    throw error;
  }
}

/** What no agent could give a result for: nothing is begun. @throws CniError 1 */
function refuseInexpressible({ configuration: { ipamType, version, config } }: Call): void {
  const promised = promisedResult(ipamType, config);
  const problem = promised === undefined ? undefined : inexpressible(promised, version);
  if (problem !== undefined) throw problem;
}

/** Undefined = it isn't known before it is made. */
function promisedResult(ipamType: string, config: Json): CniResult | undefined {
  if (ipamType === '') return (config.prevResult ?? {}) as CniResult;
  const ips = isOwnIpam(ipamType) && config.prevResult === undefined ? promisedAddresses(config) : [];
  return ips.length === 0 ? undefined : { ips };
}

function addByAgent(call: Call, netns: PodNetns, ipamResult: CniResult | undefined): CniResult {
  const request = requestOf(withSandbox(call, call.environment.netns, netns.path), netns.path, ipamResult);
  try {
    const { result } = askNow(call, request, CODE.tryAgain);
    if (result === undefined) throw senseless('it has no result');
    refuseMade(call, result);
    return sandboxRenamed(result, netns.path, call.environment.netns);
  } catch (error) {
    if (error instanceof UnknownOutcome) undoByAgent({ ...call, verb: 'DEL' }, netns);
    throw error;
  }
}

/** What is made, and yet not to be. @throws UnknownOutcome */
function refuseMade({ host, configuration: { version } }: Call, result: CniResult): void {
  const problem = inexpressible(result, version) ?? (host.isEnding() ? endedEarly('before its answer') : undefined);
  if (problem !== undefined) throw new UnknownOutcome(problem.code, problem.message);
}

/** The error to tell is another one; what can't be undone now is undone later. */
function undoByAgent(call: Call, netns: PodNetns): void {
  call.host.shield();
  try {
    delByAgent(call, netns);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    warn(call.host, `the attachment could not be undone: ${error.message} ${error.details}`);
  }
}

/** As much as can be done is done, whatever fails. */
function del(call: Call): undefined {
  const netns = netnsIfThere(call.host, call.environment.netns);
  const steps = [
    () => {
      const former = delByAgent(call, netns);
      if (former !== undefined) delByFormer(call, former);
    },
    () => forward(call, delegateIfThere(call)),
  ];
  const errors = steps.flatMap(failureOfStep);
  const error = joined(errors);
  if (error !== undefined) throw error;
}

/** @returns the section `ipam` of the plugin that gave the addresses, if it is another one than the configuration names */
function delByAgent(call: Call, netns: PodNetns): Json | undefined {
  const request = requestOf(call, netns.path);
  const answer = ask(call, request);
  // Later, the process's number may be another one's.
  if (!isFailed(answer)) return answer.formerIpam;
  defer(call, netns.isOfProcess ? { ...request, netns: '' } : request, answer);
  return undefined;
}

/** The configuration was changed since the ADD: whoever gave the addresses then has them back. */
function delByFormer(call: Call, ipam: Json): void {
  const before = withIpam(call, ipam);
  warn(call.host, `ipam.type was ${JSON.stringify(ipam.type)} when this was added: that plugin is called too`);
  forward(before, delegateIfThere(before));
}

/** A plugin that isn't there any more must not keep a pod from going. */
function delegateIfThere(call: Call): Delegate | undefined {
  try {
    return findDelegate(call);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    warn(call.host, `${error.message} (${error.details}): deleted without it`);
    return undefined;
  }
}

function check(call: Call): undefined {
  const netns = requireNetns(call.host, call.environment.netns);
  const delegate = findDelegate(call);
  askNow(call, requestOf(withSandbox(call, call.environment.netns, netns.path), netns.path), CODE.tryAgain);
  forward(call, delegate);
}

/** Both collect, whatever one of them says. */
function gc(call: Call): undefined {
  const steps = [() => void askNow(call, requestOf(call, ''), CODE.tryAgain), () => forward(call, findDelegate(call))];
  const error = joined(steps.flatMap(failureOfStep));
  if (error !== undefined) throw error;
}

function status(call: Call): undefined {
  askNow(call, requestOf(call, ''), CODE.unavailable);
  forward(call, findDelegate(call));
}

function failureOfStep(step: () => void): CniError[] {
  try {
    step();
    return [];
  } catch (error) {
    return [asCniError(error)];
  }
}

/** The agent is told of the namespace by a path of its own (see PodNetns); in `prevResult`, it has the same. */
function withSandbox(call: Call, from: string, to: string): Call {
  const { prevResult, ...rest } = call.configuration.config;
  if (from === to || prevResult === undefined) return call;
  const config = { ...rest, prevResult: sandboxRenamed(prevResult as CniResult, from, to) };
  return { ...call, configuration: { ...call.configuration, config } };
}

function sandboxRenamed(result: CniResult, from: string, to: string): CniResult {
  if (from === to || result.interfaces === undefined) return result;
  const interfaces = result.interfaces.map(entry => (entry.sandbox === from ? { ...entry, sandbox: to } : entry));
  return { ...result, interfaces };
}
