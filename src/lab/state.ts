/** What a lab has made so far, on disk before each step, so that `down` finds it after any crash. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { namespacePrefix } from './layout.ts';

export const labsDir = '/run/kproxy-ts-lab';

const processId = z.object({ pid: z.int().positive(), startTime: z.string() }).readonly();
const pod = z
  .object({
    name: z.string(),
    node: z.string(),
    ip: z.string(),
    /** '' in a lab without IPv6. */
    ip6: z.string(),
    process: processId.nullable(),
  })
  .readonly();

const labState = z
  .object({
    version: z.literal(4),
    name: z.string(),
    /** RFC 3339. */
    startedAt: z.string(),
    phase: z.enum(['starting', 'ready']),
    /** The process on whose end the lab should end too; null once `lab up` handed it over to the operator. */
    owner: processId.nullable(),
    namespaces: z.array(z.string()).readonly(),
    /** false: IPv4 only. */
    hasIPv6: z.boolean(),
    /** The daemons answer the cluster's names, and pods ask them. */
    hasDns: z.boolean(),
    /** The daemons give pods their network. */
    hasCni: z.boolean(),
    mode: z.string(),
    daemonProgram: z.string(),
    control: processId.nullable(),
    /** By name, which is the node's but for a second one there; null while one is being started. Empty in a lab without daemons. */
    daemons: z.record(z.string(), processId.nullable()).readonly(),
    pods: z.array(pod).readonly(),
    /** How many pods each node ever had. */
    podsEver: z.record(z.string(), z.number()).readonly(),
  })
  .readonly();

export type LabState = z.infer<typeof labState>;
export type PodState = z.infer<typeof pod>;

export function labDir(name: string): string {
  return join(labsDir, name);
}

/** @throws with what is wrong, when the text isn't a state file of this version */
export function parseState(text: string): LabState {
  const parsed = labState.safeParse(JSON.parse(text));
  if (!parsed.success) throw new Error(`not a lab's state file: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** null when there is no such lab. @throws when its file can't be read or parsed */
export function readState(name: string): LabState | null {
  try {
    return parseState(readFileSync(join(labDir(name), 'state.json'), 'utf8'));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  }
}

/** The one writer of a lab's state. Writes are synchronous and atomic: what `current` says is what a reader finds. */
export class StateFile {
  #current: LabState;

  constructor(initial: LabState) {
    this.#current = initial;
    mkdirSync(labDir(initial.name), { recursive: true });
    this.update({});
  }

  get current(): LabState {
    return this.#current;
  }

  update(changes: Partial<LabState>): void {
    const next = { ...this.#current, ...changes };
    const path = join(labDir(next.name), 'state.json');
    writeFileSync(`${path}.new`, `${JSON.stringify(next, null, 1)}\n`);
    renameSync(`${path}.new`, path);
    this.#current = next;
  }

  addNamespaces(names: readonly string[]): void {
    const prefix = namespacePrefix(this.#current.name);
    if (!names.every(name => name.startsWith(prefix)))
      throw new Error(`not namespaces of this lab: ${names.join(', ')}`);
    this.update({ namespaces: [...new Set([...this.#current.namespaces, ...names])] });
  }

  /** Adds a pod, or replaces the one of the same name. */
  putPod(pod: PodState): void {
    const { pods } = this.#current;
    const isKnown = pods.some(({ name }) => name === pod.name);
    this.update({ pods: isKnown ? pods.map(known => (known.name === pod.name ? pod : known)) : [...pods, pod] });
  }
}
