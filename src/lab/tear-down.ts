/** Removes everything that a lab made, whatever state its last run left it in. */
import { existsSync } from 'node:fs';
import { mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { namespacePrefix } from './layout.ts';
import { deleteNamespaces, listNamespaces, noteMount, releaseMount } from './netns.ts';
import { endProcesses, findMarked, isAlive, type ProcessId } from './process.ts';
import { type LabState, labDir, labsDir, readState } from './state.ts';

export interface Removed {
  readonly processes: number;
  readonly namespaces: number;
}

const mountNote = join(labsDir, '.netns-mount');

/** Before the first namespace of a lab: makes the place for its files. */
export async function prepareHost(): Promise<void> {
  await mkdir(labsDir, { recursive: true });
  await noteMount(mountNote);
}

/**
 * Ends the lab's processes and removes its namespaces and files. Idempotent; works from what is there (marked processes, prefixed
 * namespaces) as much as from the state file, which a crash may have left behind the facts.
 * @throws when another live process is just bringing this lab up, or something can't be removed
 */
export async function tearDown(name: string): Promise<Removed> {
  const state = readStateOrNull(name);
  await refuseWhileStarting(state);
  let removed = await removeLive(name, await aliveOf(name, state));
  // What a killed `up` had just started may still add to it: look again until nothing is found.
  for (let more = removed; more.processes + more.namespaces > 0; ) {
    more = await removeLive(name, await findMarked(name));
    removed = { processes: removed.processes + more.processes, namespaces: removed.namespaces + more.namespaces };
  }
  await rm(labDir(name), { recursive: true, force: true });
  await releaseHost();
  return removed;
}

async function removeLive(name: string, processes: readonly ProcessId[]): Promise<Removed> {
  await endProcesses(processes);
  const namespaces = await listNamespaces(namespacePrefix(name));
  await deleteNamespaces(namespaces);
  return { processes: processes.length, namespaces: namespaces.length };
}

/** A damaged state file mustn't keep a lab from being removed: everything is found without it too. */
function readStateOrNull(name: string): LabState | null {
  try {
    return readState(name);
  } catch (error) {
    if (error instanceof Error) return null;
    throw error;
  }
}

async function refuseWhileStarting(state: LabState | null): Promise<void> {
  if (state?.phase !== 'starting' || state.owner === null || state.owner.pid === process.pid) return;
  if (await isAlive(state.owner)) {
    throw new Error(`lab '${state.name}' is being brought up by process ${state.owner.pid}: end that first`);
  }
}

async function aliveOf(name: string, state: LabState | null): Promise<ProcessId[]> {
  const recorded = [
    state?.control,
    ...Object.values(state?.daemons ?? {}),
    ...(state?.pods ?? []).map(pod => pod.process),
  ].filter(id => id !== null && id !== undefined);
  const unique = new Map([...recorded, ...(await findMarked(name))].map(id => [id.pid, id]));
  const alive = await Promise.all([...unique.values()].map(async id => ((await isAlive(id)) ? id : null)));
  return alive.filter(id => id !== null);
}

/** The last lab takes the shared directory with it. */
async function releaseHost(): Promise<void> {
  if (!existsSync(labsDir)) return;
  const labs = (await readdir(labsDir)).filter(entry => !entry.startsWith('.'));
  if (labs.length > 0) return;
  await releaseMount(mountNote);
  if ((await readdir(labsDir)).length === 0) await rmdir(labsDir);
}
