/** Runs a packetflow case by tracing what the backend plans. */
import type { BackendEntry } from './backends.ts';
import { finalObjects } from './cluster.ts';
import { isFor, nodeConfigFor, type PacketflowCase, type Probe, type Step, stepsOf } from './packetflow.ts';
import { failed, passed, type Result, skipped } from './result.ts';
import { disagreement, type Sighting } from './sighting.ts';
import { TracedNode } from './traced-node.ts';
import { messageOf } from './vector-files.ts';

/** How a case's checks are named: the case, the step where there is more than one, the probe. */
export function probeName(flow: PacketflowCase, step: number, probe: string): string {
  return `${flow.name}${(flow.steps ?? []).length === 0 || step === 0 ? '' : `, step ${step}`}: ${probe}`;
}

/** Why a case or a probe isn't for the backend. */
export function notFor({ backends }: { readonly backends?: readonly string[] }): string {
  return `the case is for ${(backends ?? []).join(' and ') || 'no backend'} only`;
}

/** Every probe of a case that isn't run. */
export function allSkipped(flow: PacketflowCase, why: string): Result[] {
  const probes = [flow, ...(flow.steps ?? [])].map(step => step.probes ?? []);
  return probes.flatMap((list, index) => list.map(probe => skipped(probeName(flow, index, probe.name), why)));
}

/**
 * Every probe of every step; where there are steps, each is compared with a cold start of the objects that it leaves, and the last
 * one's probes are traced there too. A case that can't be run at all is one failure.
 */
export async function runTraced(flow: PacketflowCase, name: string, entry: BackendEntry): Promise<Result[]> {
  if (!isFor(flow, entry.column)) return allSkipped(flow, notFor(flow));
  try {
    const steps = stepsOf(flow, entry.column);
    const node = nodeConfigFor(flow, entry.column);
    const live = new TracedNode(entry, name, node);
    const results: Result[] = [];
    for (const [index, step] of steps.entries()) {
      await live.take(step);
      results.push(...traceProbes(live, step, { flow, index, entry, suffix: '' }));
      if (steps.length === 1) continue;
      const cold = new TracedNode(entry, name, node);
      await cold.take({ apply: finalObjects(steps.slice(0, index + 1)) });
      results.push(
        ...sameContents(
          await live.contents(),
          await cold.contents(),
          probeName(flow, index, 'the same as a cold start'),
        ),
      );
      if (index < steps.length - 1) continue;
      results.push(...traceProbes(cold, step, { flow, index, entry, suffix: ' (cold start)' }));
    }
    return results;
  } catch (error) {
    return [failed(flow.name, messageOf(error))];
  }
}

interface Place {
  readonly flow: PacketflowCase;
  readonly index: number;
  readonly entry: BackendEntry;
  readonly suffix: string;
}

function traceProbes(node: TracedNode, step: Required<Step>, { flow, index, entry, suffix }: Place): Result[] {
  return step.probes.map(probe => {
    const name = probeName(flow, index, probe.name) + suffix;
    return isFor(probe, entry.column) ? traceProbe(node, probe, name) : skipped(name, notFor(probe));
  });
}

function traceProbe(node: TracedNode, probe: Probe, name: string): Result {
  try {
    return judged(name, probe, node.trace(probe));
  } catch (error) {
    return failed(name, `${probeText(probe)}\n${messageOf(error)}`);
  }
}

/** Passed when the sightings are what the probe expects. */
export function judged(name: string, probe: Probe, sightings: readonly Sighting[]): Result {
  const why = disagreement(probe, sightings);
  return why === undefined ? passed(name) : failed(name, `${probeText(probe)}\n${why}`);
}

/** The probe as a line. */
export function probeText({ sourceType, sourceIP, proto, destIP, destPort }: Probe): string {
  return `${proto} from ${sourceType} ${sourceIP} to ${destIP} port ${destPort}`;
}

/** One failure when what steps left differs from what a cold start makes; nothing else to count. */
export function sameContents(live: readonly string[], cold: readonly string[], name: string): Result[] {
  const [seen, wanted] = [new Set(live), new Set(cold)];
  const more = [...seen].filter(line => !wanted.has(line)).map(line => `only after the steps: ${line}`);
  const less = [...wanted].filter(line => !seen.has(line)).map(line => `only after a cold start: ${line}`);
  return more.length + less.length === 0 ? [] : [failed(name, [...more, ...less].join('\n'))];
}
