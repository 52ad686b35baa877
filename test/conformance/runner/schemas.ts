/** What is done with the files of each schema. */
import type { BackendEntry } from './backends.ts';
import { playControl } from './control/groups.ts';
import type { PacketflowCase } from './packetflow.ts';
import { type Result, skipped } from './result.ts';
import { runTopology, type TopologyCase } from './topology.ts';
import { listAt, type VectorFile } from './vector-files.ts';

/** Runs the packetflow cases of one file, in any order. */
export type FlowRunner = (flows: readonly PacketflowCase[]) => Promise<readonly Result[]>;

export interface RunContext {
  readonly name: string;
  readonly entry: BackendEntry;
  readonly runFlows: FlowRunner;
}

type Play = (file: VectorFile, context: RunContext) => Promise<readonly Result[]> | readonly Result[];

/** Every schema of vectors/README.md. */
const SCHEMAS: Readonly<Record<string, Play>> = {
  'kproxy-vectors/packetflow/v1': (file, { runFlows }) => runFlows(listAt<PacketflowCase>(file, 'cases')),
  'kproxy-vectors/topology/v1': file => listAt<TopologyCase>(file, 'cases').map(runTopology),
  'kproxy-vectors/control/v1': file => playControl(file),
  'kproxy-vectors/ipvs/v1': (file, { name }) =>
    allSkipped([...listAt(file, 'state'), ...someAt(file, 'gracefulTermination'), ...someAt(file, 'cleanLegacy')], {
      file,
      why: `the state of IPVS is no matter of the backend ${name}`,
    }),
  'kproxy-vectors/dns/v1': file =>
    allSkipped(
      listAt<{ cases: readonly unknown[] }>(file, 'suites').flatMap(suite => suite.cases),
      {
        file,
        why: 'cluster DNS is no matter of a Service backend',
      },
    ),
  'kproxy-vectors/watch/v1': file =>
    allSkipped(
      Object.values(file.fields)
        .filter(value => Array.isArray(value))
        .flat(),
      {
        file,
        why: 'list and watch are played by watch-reflector.test.ts and apiserver.test.ts',
      },
    ),
};

function someAt(file: VectorFile, field: string): readonly unknown[] {
  return Array.isArray(file.fields[field]) ? listAt<unknown>(file, field) : [];
}

function allSkipped(cases: readonly unknown[], { file, why }: { file: VectorFile; why: string }): Result[] {
  return cases.map((_, index) => skipped(`${file.file} ${index + 1}`, why));
}

/** The checks of one file; none for one that has no schema at all, which is no vector file. */
export async function runFile(file: VectorFile, context: RunContext): Promise<readonly Result[]> {
  if (file.schema === '') return [];
  const play = Object.hasOwn(SCHEMAS, file.schema) ? SCHEMAS[file.schema] : undefined;
  if (play === undefined) return [skipped(file.file, `the schema ${file.schema} is unknown to this runner`)];
  const results = await play(file, context);
  return results.map(result => ({ ...result, name: `${file.file}, ${result.name}` }));
}
