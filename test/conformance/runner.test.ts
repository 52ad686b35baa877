/** The runner itself: what it takes for agreement, and that it sees what is wrong. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import type { Model, ServiceRoute } from '../../src/endpoints/types.ts';
import { type BackendEntry, backendNamed, type TracedKernel } from './runner/backends.ts';
import { playControl } from './runner/control/groups.ts';
import { outsideInterface, podInterface } from './runner/node-config.ts';
import type { Expectation, NodeConfig, PacketflowCase, Probe } from './runner/packetflow.ts';
import { compared, failed, passed, reportLines, skipped } from './runner/result.ts';
import { runTraced } from './runner/run-traced.ts';
import { disagreement, type Sighting } from './runner/sighting.ts';

const NODE: NodeConfig = {
  nodeName: 'node-a',
  nodeIPs: ['192.0.2.11'],
  ipFamilies: ['IPv4'],
  localDetect: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] },
};

const probe = (expect: Expectation, fields: Partial<Probe> = {}): Probe => ({
  ...{ name: 'probe', sourceType: 'pod', sourceIP: '10.244.1.9', proto: 'TCP', destIP: '10.96.0.10', destPort: 80 },
  expect,
  ...fields,
});

const SERVICE = {
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'default', name: 'web' } },
  spec: { clusterIP: '10.96.0.10', ports: [{ name: 'http', port: 80, protocol: 'TCP' }] },
};
const slice = (...addresses: string[]) => ({
  ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
  metadata: { namespace: 'default', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
  endpoints: addresses.map(address => ({ addresses: [address] })),
  ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
});
const both: Expectation = { endpoints: ['10.244.1.2:8080', '10.244.2.2:8080'], masquerade: false };
const FLOW: PacketflowCase = {
  name: 'flow',
  nodeConfig: NODE,
  objects: [SERVICE, slice('10.244.1.2', '10.244.2.2')],
  probes: [probe(both)],
};

describe('what agrees with an expectation', () => {
  const one: Expectation = { endpoints: ['10.244.1.2:8080'], masquerade: false };
  const seen = (endpoint: string, masquerade: boolean | 'never' = false): Sighting => ({ endpoint, masquerade });
  const agrees = (expect: Expectation, sightings: Sighting[], fields: Partial<Probe> = {}) =>
    disagreement(probe(expect, fields), sightings) === undefined;

  it('the same endpoints, no more and no less, with the same source', () => {
    expect(agrees(one, [seen('10.244.1.2:8080')])).toBe(true);
    expect(agrees(one, [seen('10.244.1.2:8080', true)])).toBe(false);
    expect(agrees(one, [seen('10.244.1.2:8080'), seen('10.244.2.2:8080')])).toBe(false);
    expect(agrees(both, [seen('10.244.1.2:8080')])).toBe(false);
    expect(agrees(one, [])).toBe(false);
    expect(agrees(one, [seen('10.244.1.2:8080'), { verdict: 'DROP' }])).toBe(false);
    expect(agrees(one, [{ other: 'something else' }])).toBe(false);
  });

  it('one verdict and nothing else', () => {
    expect(agrees({ verdict: 'DROP' }, [{ verdict: 'DROP' }])).toBe(true);
    expect(agrees({ verdict: 'DROP' }, [{ verdict: 'REJECT' }])).toBe(false);
    expect(agrees({ verdict: 'none' }, [{ verdict: 'ACCEPT' }])).toBe(false);
    expect(agrees({ verdict: 'DROP' }, [{ verdict: 'DROP' }, seen('10.244.1.2:8080')])).toBe(false);
    expect(agrees({ verdict: 'none' }, [])).toBe(false);
  });

  it('a pod that reaches itself is masqueraded, whatever is said of the others', () => {
    const itself = { sourceIP: '10.244.1.2' };
    const mixed = [seen('10.244.1.2:8080', true), seen('10.244.2.2:8080', false)];
    expect(agrees(both, mixed, itself)).toBe(true);
    expect(agrees({ ...both, masquerade: true }, mixed, itself)).toBe(true);
    expect(agrees(both, [seen('10.244.1.2:8080'), seen('10.244.2.2:8080')], itself)).toBe(false);
    expect(agrees({ ...one, masquerade: true }, [seen('10.244.1.2:8080', true)], itself)).toBe(true);
    expect(agrees(one, [seen('10.244.1.2:8080', true)], itself)).toBe(false);
  });

  it('an endpoint on the node itself cannot see another source', () => {
    const mixed = [seen('10.244.1.2:8080', true), seen('10.244.2.2:8080', 'never')];
    expect(agrees({ ...both, masquerade: true }, mixed)).toBe(true);
    expect(agrees(both, mixed)).toBe(false);
  });
});

describe('the traced run', () => {
  /** The backend with another Model than the product made. */
  function withModel(change: (model: Model) => Model): BackendEntry {
    const entry = backendNamed('iptables');
    const newTracedKernel: BackendEntry['newTracedKernel'] = options => {
      const kernel = entry.newTracedKernel(options);
      return { ...kernel, program: (model, node) => kernel.program(change(model), node) };
    };
    return { ...entry, newTracedKernel };
  }
  const withRoutes = (change: (route: ServiceRoute) => ServiceRoute) =>
    withModel(model => ({ ...model, routes: model.routes.map(change) }));
  const statuses = async (flow: PacketflowCase, entry = backendNamed('iptables')) =>
    (await runTraced(flow, 'iptables', entry)).map(({ status }) => status);

  it('passes what is right, and says what is wrong', async () => {
    expect(await statuses(FLOW)).toEqual(['passed']);
    const first = withRoutes(route => ({ ...route, clusterEndpoints: route.clusterEndpoints.slice(0, 1) }));
    const [result] = await runTraced(FLOW, 'iptables', first);
    expect(result).toEqual(
      failed(
        'flow: probe',
        'TCP from pod 10.244.1.9 to 10.96.0.10 port 80\n' +
          'expected 10.244.1.2:8080, 10.244.2.2:8080 with its own source\n' +
          'seen     10.244.1.2:8080 with its own source',
      ),
    );
  });

  it('compares steps with a cold start, and traces the last one there too', async () => {
    const only = (endpoint: string) => [probe({ endpoints: [endpoint], masquerade: false })];
    const steps = [{ apply: [slice('10.244.3.2')], probes: only('10.244.3.2:8080') }];
    expect(await statuses({ ...FLOW, steps })).toEqual(['passed', 'passed', 'passed']);
  });

  it('sees what a step leaves behind', async () => {
    const steps = [{ delete: ['Service/default/web'], probes: [] }];
    // A kernel that nothing is deleted from: the first that is made has all the steps, each later one is a cold start.
    const honest = backendNamed('iptables');
    const hoarder = (kernel: TracedKernel): TracedKernel => {
      const program: TracedKernel['program'] = async (model, node) => {
        if (!model.routes.isEmpty()) await kernel.program(model, node);
      };
      return { ...kernel, program };
    };
    let made = 0;
    const newTracedKernel: BackendEntry['newTracedKernel'] = options => {
      made += 1;
      const kernel = honest.newTracedKernel(options);
      return made === 1 ? hoarder(kernel) : kernel;
    };
    const [, difference] = await runTraced({ ...FLOW, steps }, 'iptables', { ...honest, newTracedKernel });
    expect(difference).toMatchObject({ status: 'failed', name: 'flow, step 1: the same as a cold start' });
    expect(difference).toHaveProperty('why', expect.stringContaining('only after the steps: KUBE-SVC-'));
  });

  it('a case that the schema or the product does not know fails by itself', async () => {
    const strange = { ...FLOW, probes: [{ ...probe(both), sourceType: 'satellite' as 'pod' }] };
    expect(await statuses(strange)).toEqual(['failed']);
    const mode = { ...FLOW, nodeConfig: { ...NODE, localDetect: { mode: 'Guess' } } };
    expect(await statuses(mode)).toEqual(['failed']);
    expect(await statuses({ ...FLOW, steps: [{ delete: ['Pod/default/x'] }] })).toEqual(['failed']);
  });

  it('expectations and settings of one backend replace the general ones', async () => {
    const general = probe({ verdict: 'DROP' }, { expectByBackend: { iptables: both } });
    expect(await statuses({ ...FLOW, probes: [general] })).toEqual(['passed']);
    expect(await statuses({ ...FLOW, probes: [probe(both, { backends: ['nftables'] })] })).toEqual(['skipped']);
    expect(await statuses({ ...FLOW, backends: ['nftables'] })).toEqual(['skipped']);
    const all = { iptables: { masqueradeAll: true } };
    expect(await statuses({ ...FLOW, nodeConfigByBackend: all })).toEqual(['failed']);
  });
});

describe('interfaces', () => {
  const named = (detect: NodeConfig['localDetect']) => {
    const node = { ...NODE, localDetect: detect };
    return [podInterface(node), outsideInterface(node)];
  };
  it('are named as the node looks for them, and no others are', () => {
    expect(named({ mode: 'ClusterCIDR' })).toEqual(['pods0', 'uplink0']);
    expect(named({ mode: 'BridgeInterface', bridgeInterface: 'cni0' })).toEqual(['cni0', 'uplink0']);
    expect(named({ mode: 'InterfaceNamePrefix', interfaceNamePrefix: 'veth' })).toEqual(['veth0', 'uplink0']);
    expect(named({ mode: 'InterfaceNamePrefix', interfaceNamePrefix: 'up' })).toEqual(['up0', 'eth9']);
  });
});

describe('control groups', () => {
  it('that nobody knows are skipped with their name, and a broken one fails', async () => {
    const groups = { future: { cases: [{}, {}] }, shouldSkipService: { cases: [] } };
    const results = await playControl({ file: 'c.json', schema: '', fields: { groups } });
    expect(results.map(({ status }) => status)).toEqual(['skipped', 'skipped', 'failed']);
  });
});

describe('results', () => {
  it('compare as JSON, the order of fields aside', () => {
    expect(compared('x', { a: 1, b: [1, 2] }, { b: [1, 2], a: 1 }).status).toBe('passed');
    expect(compared('x', { a: 1 }, { a: 2 })).toEqual(failed('x', 'expected {"a":1}\nseen     {"a":2}'));
  });

  it('end with the count', () => {
    const results = [
      passed('a'),
      failed('b', 'expected x\nseen y'),
      skipped('c', 'no reason'),
      skipped('d', 'no reason'),
    ];
    expect(reportLines(results)).toEqual([
      'FAILED b',
      '  expected x',
      '  seen y',
      'skipped 2: no reason',
      '1 passed, 1 failed, 2 skipped',
    ]);
  });
});

// Each starts the program, which takes a second or two on a busy machine.
describe('npm run conformance', { timeout: 60_000 }, () => {
  const main = fileURLToPath(new URL('./runner/main.ts', import.meta.url));
  const start = (...args: string[]) =>
    new Promise<{ status: number; last: string; err: string }>(resolve => {
      execFile(process.execPath, [main, ...args], (error, stdout, stderr) => {
        const status = error === null ? 0 : Number(error.code);
        resolve({ status, last: stdout.trim().split('\n').at(-1) ?? '', err: stderr.trim() });
      });
    });

  /** Runs it on a directory with these files. */
  async function runOn(files: Readonly<Record<string, unknown>>) {
    const directory = await mkdtemp(join(tmpdir(), 'kproxy-ts-vectors-'));
    try {
      for (const [name, content] of Object.entries(files)) {
        await writeFile(join(directory, name), typeof content === 'string' ? content : JSON.stringify(content));
      }
      return await start('--vectors', directory);
    } finally {
      await rm(directory, { recursive: true });
    }
  }
  const packetflow = (...cases: unknown[]) => ({ schema: 'kproxy-vectors/packetflow/v1', cases });

  it('knows a file by its schema, not by its name', async () => {
    const files = { 'strange name.json': packetflow(FLOW), 'notes.txt': 'no vectors' };
    expect(await runOn(files)).toMatchObject({ status: 0, last: '1 passed, 0 failed, 0 skipped' });
  });

  it('fails when a case does', async () => {
    const wrong = { ...FLOW, probes: [probe({ verdict: 'REJECT' })] };
    expect(await runOn({ 'a.json': packetflow(wrong, FLOW) })).toMatchObject({
      status: 1,
      last: '1 passed, 1 failed, 0 skipped',
    });
  });

  it('skips what it has no player for', async () => {
    const files = {
      'a.json': packetflow(FLOW),
      'b.json': { schema: 'kproxy-vectors/dns/v1', suites: [{ cases: [{}, {}] }] },
    };
    expect(await runOn(files)).toMatchObject({ status: 0, last: '1 passed, 0 failed, 2 skipped' });
  });

  it('cannot run without cases, directory, or sense in a file', async () => {
    expect(await runOn({})).toMatchObject({ status: 2, err: expect.stringContaining('no case was found') });
    expect(await runOn({ 'a.json': packetflow() })).toMatchObject({ status: 2 });
    expect(await runOn({ 'a.json': '{' })).toMatchObject({
      status: 2,
      err: expect.stringContaining('a.json cannot be read'),
    });
    const shapeless = { schema: 'kproxy-vectors/packetflow/v1' };
    expect(await runOn({ 'a.json': shapeless })).toMatchObject({
      status: 2,
      err: expect.stringContaining("no list 'cases'"),
    });
    expect(await start('--vectors', '/nowhere')).toMatchObject({ status: 2, err: expect.stringContaining('/nowhere') });
  });

  it('names the backends that there are', async () => {
    const unknown = {
      status: 2,
      err: expect.stringContaining('unknown backend pigeons; there is: iptables, nftables'),
    };
    expect(await start('--backend', 'pigeons')).toMatchObject(unknown);
  });
});
