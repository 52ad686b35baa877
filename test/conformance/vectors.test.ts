/** Every case that this part covers, traced: no root, no namespaces. The same with packets: test/integration/conformance-packets.test.ts. */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { BACKENDS } from './runner/backends.ts';
import { playControl } from './runner/control/groups.ts';
import type { PacketflowCase } from './runner/packetflow.ts';
import { type Result, reportLines } from './runner/result.ts';
import { runTraced } from './runner/run-traced.ts';
import { runTopology, type TopologyCase } from './runner/topology.ts';
import { listAt, readVectors } from './runner/vector-files.ts';

const filesIn = (directory: string) => readVectors(fileURLToPath(new URL(directory, import.meta.url)));
const files = await filesIn('./vectors');
const [ours] = await filesIn('./more-vectors');

function fileOf(schema: string) {
  const file = files.find(candidate => candidate.schema === `kproxy-vectors/${schema}/v1`);
  if (file === undefined) throw new TypeError(`no vectors of the schema ${schema}`);
  return file;
}

const failures = (results: readonly Result[]) => reportLines(results.filter(({ status }) => status === 'failed'));
const NO_FAILURE = ['0 passed, 0 failed, 0 skipped'];

describe.each(Object.entries(BACKENDS))('packet flows through %s', (name, entry) => {
  const more = ours === undefined ? [] : listAt<PacketflowCase>(ours, 'cases');
  const flows = [...listAt<PacketflowCase>(fileOf('packetflow'), 'cases'), ...more];
  const [own = [], others = []] = [true, false].map(isOwn =>
    flows.filter(({ backends = [entry.column] }) => backends.includes(entry.column) === isOwn),
  );
  it.each(own.map(flow => [flow.name, flow] as const))('%s', async (_name, flow) => {
    const results = await runTraced(flow, name, entry);
    expect(results.some(({ status }) => status === 'passed')).toBe(true);
    expect(failures(results)).toEqual(NO_FAILURE);
  });
  it('skips the cases of other backends, with the reason', async () => {
    const results = (await Promise.all(others.map(flow => runTraced(flow, name, entry)))).flat();
    expect(new Set(results.map(({ status }) => status))).toEqual(new Set(['skipped']));
  });
});

describe('endpoint selection', () => {
  const cases = listAt<TopologyCase>(fileOf('topology'), 'cases');
  it.each(cases.map(item => [item.name, item] as const))('%s', (_name, item) => {
    expect(failures([runTopology(item)])).toEqual(NO_FAILURE);
  });
});

const control = await playControl(fileOf('control'));

describe('control', () => {
  const groups = Map.groupBy(control, ({ name }) => name.slice(0, name.indexOf(':')));
  it.each([...groups].filter(([group]) => group !== ''))('%s', (_group, results) => {
    expect(failures(results)).toEqual(NO_FAILURE);
  });
});
