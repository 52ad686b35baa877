/** Runs packetflow cases with packets, several at a time, each on a stage of its own. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { type BackendEntry, backendNamed } from '../backends.ts';
import { finalObjects } from '../cluster.ts';
import {
  isFor,
  type NodeConfig,
  nodeConfigFor,
  type PacketflowCase,
  type Probe,
  type Step,
  stepsOf,
} from '../packetflow.ts';
import { failed, type Result, skipped } from '../result.ts';
import { allSkipped, judged, notFor, probeName, probeText, sameContents } from '../run-traced.ts';
import { messageOf } from '../vector-files.ts';
import { addressesOf, type CaseAddresses } from './case-addresses.ts';
import { freePrefixes, namespacePrefix } from './network.ts';
import { observe } from './observe.ts';
import { Stage } from './stage.ts';

export interface PacketRunOptions {
  readonly backend: string;
  /** How many cases are played at once. */
  readonly stages?: number;
  /** For tests of the runner: called with the node's namespace when everything has been programmed. */
  readonly tamper?: (netns: string) => Promise<void>;
}

interface Play extends PacketRunOptions {
  readonly entry: BackendEntry;
  readonly stage: Stage;
  /** Why SCTP can't be played; '' when it can. */
  readonly sctpObstacle: string;
}

/** Results in the order of `flows`. Rejects when the stages can't be set up. */
export async function runPackets(
  flows: readonly PacketflowCase[],
  options: PacketRunOptions,
): Promise<readonly Result[]> {
  const results = await playFlows(flows, options);
  return flows.flatMap(flow => results.get(flow) ?? []);
}

/** The results of each case. Rejects when the stages can't be set up. */
export async function playFlows(
  flows: readonly PacketflowCase[],
  options: PacketRunOptions,
): Promise<ReadonlyMap<PacketflowCase, readonly Result[]>> {
  const entry = backendNamed(options.backend);
  const prefixes = freePrefixes(JSON.stringify(flows));
  const sctpObstacle = await obstacleToSCTP();
  await using stack = new AsyncDisposableStack();
  const count = Math.min(options.stages ?? 2, flows.length);
  const stages = await Promise.all(
    Array.from({ length: count }, async (_, index) =>
      stack.use(await Stage.create(`${namespacePrefix()}${index}`, prefixes)),
    ),
  );
  const queue = groupedByNode(flows, entry.column);
  const results = new Map<PacketflowCase, readonly Result[]>();
  const work = async (stage: Stage) => {
    for (let flow = queue.shift(); flow !== undefined; flow = queue.shift()) {
      results.set(flow, await runFlow(flow, { ...options, entry, stage, sctpObstacle }));
    }
  };
  await Promise.all(stages.map(work));
  return results;
}

/** Cases of like nodes follow each other: then their links and addresses stay. */
function groupedByNode(flows: readonly PacketflowCase[], column: string): PacketflowCase[] {
  const groups = Map.groupBy(flows, flow => JSON.stringify(nodeConfigFor(flow, column)));
  return [...groups.values()].flat();
}

async function runFlow(flow: PacketflowCase, play: Play): Promise<readonly Result[]> {
  const { column } = play.entry;
  if (!isFor(flow, column)) return allSkipped(flow, notFor(flow));
  try {
    const steps = stepsOf(flow, column);
    const node = nodeConfigFor(flow, column);
    const addresses = addressesOf(node, steps);
    await play.stage.prepare(node, addresses);
    return await runSteps({ flow, steps, node, addresses }, play);
  } catch (error) {
    return [failed(flow.name, messageOf(error))];
  }
}

interface Prepared {
  readonly flow: PacketflowCase;
  readonly steps: readonly Required<Step>[];
  readonly node: NodeConfig;
  readonly addresses: CaseAddresses;
}

async function runSteps(prepared: Prepared, play: Play): Promise<Result[]> {
  const { flow, steps, node } = prepared;
  const { stage, backend, tamper } = play;
  const results: Result[] = [];
  for (const [index, step] of steps.entries()) {
    if (index === 0) await stage.startProgram({ backend, node, objects: step.apply });
    else await stage.takeStep(step);
    await tamper?.(stage.network.node);
    results.push(...(await playProbes(prepared, play, { index, suffix: '' })));
  }
  if (steps.length === 1) return results;
  const live = await stage.contents();
  await stage.startProgram({ backend, node, objects: finalObjects(steps) });
  const index = steps.length - 1;
  results.push(...sameContents(live, await stage.contents(), probeName(flow, index, 'the same as a cold start')));
  await tamper?.(stage.network.node);
  return [...results, ...(await playProbes(prepared, play, { index, suffix: ' (cold start)' }))];
}

async function playProbes(prepared: Prepared, play: Play, at: { index: number; suffix: string }): Promise<Result[]> {
  const { flow, steps, addresses } = prepared;
  const results: Result[] = [];
  for (const probe of steps[at.index]?.probes ?? []) {
    const name = probeName(flow, at.index, probe.name) + at.suffix;
    const obstacle = obstacleTo(probe, addresses, play);
    results.push(obstacle === '' ? await playProbe(name, probe, { addresses, play }) : skipped(name, obstacle));
  }
  return results;
}

async function playProbe(
  name: string,
  probe: Probe,
  { addresses, play }: { addresses: CaseAddresses; play: Play },
): Promise<Result> {
  try {
    return judged(name, probe, await observe(play.stage, probe, addresses));
  } catch (error) {
    return failed(name, `${probeText(probe)}\n${messageOf(error)}`);
  }
}

/** Why a probe can't be played with packets; '' when it can. */
function obstacleTo(probe: Probe, { pods, nodeIPs }: CaseAddresses, { entry, sctpObstacle }: Play): string {
  if (!isFor(probe, entry.column)) return notFor(probe);
  if (probe.proto === 'SCTP' && sctpObstacle !== '') return sctpObstacle;
  const { sourceType, sourceIP } = probe;
  const isElsewhere = sourceType === 'external' ? pods.has(sourceIP) || nodeIPs.includes(sourceIP) : false;
  if (isElsewhere) return 'an address of a pod or the node cannot be that of an external client at the same time';
  const isPodOfNode = sourceType === 'pod' && nodeIPs.includes(sourceIP);
  return isPodOfNode ? 'an address of the node cannot be that of a pod at the same time' : '';
}

/** Asks the kernel for an SCTP socket; Node has none, Debian's Perl does. */
async function obstacleToSCTP(): Promise<string> {
  const ask = 'use Socket; exit(socket(my $s, PF_INET, SOCK_STREAM, 132) ? 0 : 1)';
  try {
    await promisify(execFile)('perl', ['-e', ask]);
    return 'this runner has no sockets for SCTP';
  } catch {
    return 'the kernel has no SCTP';
  }
}
