import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  answers,
  ask,
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  enoughFor,
  eventually,
  fromPod,
  type LogLine,
  labName,
  logLines,
  masqueradedAt,
  serviceObject,
  servicesPath,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA, nodeB] = nodes;
const tcp = bothProtocols.slice(0, 1);

/** The objects that the daemons complain of, and the fields they shall name. */
const complaints: Readonly<Record<string, readonly string[]>> = {
  'Service default/bad-cluster-ip': ['spec.clusterIPs[0]'],
  'Service default/bad-external-ip': ['spec.externalIPs[0]'],
  'Service default/bad-ports': ['spec.ports[1].port', 'spec.ports[2].port', 'spec.ports[3].protocol'],
  'EndpointSlice default/bad-ports': ['ports[3].protocol'],
  'EndpointSlice default/fqdn-names': ['addressType'],
  'EndpointSlice default/bad-endpoint': ['endpoints[0].addresses[0]', 'endpoints[2].addresses[0]'],
};

describeLab('objects that the API server should never have stored', () => {
  let lab: Lab;
  let onA: PodState;
  let onB: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('bad'), mode: '', validate: false });
    [onA, onB] = lab.pods as [PodState, PodState];
    await createBadObjects();
    // Made last: whoever has it has seen all that came before it.
    await createService(lab, { name: 'last', clusterIP: '10.96.5.99', ports: tcp }, [endpoint(onB)]);
    await awaitUsed(lab, { service: 'default/last', pods: [onB] });
  });
  afterAll(async () => {
    await lab.close();
  });

  async function createBadObjects(): Promise<void> {
    const good = [endpoint(onB)];
    await createService(lab, { name: 'bad-cluster-ip', clusterIP: '10.96.0.999', ports: withNodePort(30501) }, good);
    const spec = { externalIPs: ['198.51.100.300', '198.51.100.5'] };
    await createService(lab, { name: 'bad-external-ip', clusterIP: '10.96.5.1', ports: tcp, spec }, good);
    const ports = [
      ...tcp,
      { name: 'zero', port: 0 },
      { name: 'high', port: 70_000 },
      { name: 'odd', port: 81, protocol: 'ICMP' as 'TCP' },
    ];
    await createService(lab, { name: 'bad-ports', clusterIP: '10.96.5.2', ports }, good);
    await createService(lab, { name: 'fqdn', clusterIP: '10.96.5.3', ports: tcp }, good);
    const names = [{ addresses: ['pod.example.org'], conditions: { ready: true } }];
    const fqdn = { name: 'fqdn-names', service: 'fqdn', ports: tcp, endpoints: names, addressType: 'FQDN' };
    await lab.api.create(slicesPath(), sliceObject(fqdn));
    const mixed = [
      { ...endpoint(onA), addresses: ['10.244.1.300'] },
      endpoint(onB),
      { ...endpoint(onA), addresses: ['fd00::1'] },
    ];
    await createService(lab, { name: 'bad-endpoint', clusterIP: '10.96.5.4', ports: tcp }, mixed);
  }

  /** The lines of a node's log about objects with problems, and about problems that are gone. */
  function linesOf(node: string): readonly LogLine[] {
    return logLines(lab, node).filter(({ component, object }) => component === 'watch' && object !== undefined);
  }

  test('each has one line, which names the object and every field', () => {
    for (const { name } of nodes) {
      const lines = linesOf(name);
      expect(lines.map(({ level }) => level)).toEqual(lines.map(() => 'warn'));
      const found = lines.map(
        ({ object = '', problems = [] }) => [object, problems.map(({ field }) => field)] as const,
      );
      expect(found.toSorted()).toEqual(Object.entries(complaints).toSorted());
      for (const { msg, object = '', problems = [] } of lines) {
        expect(msg.startsWith(`${object}: `), msg).toBe(true);
        for (const { field } of problems) expect(msg).toContain(`${field}: `);
      }
    }
  });

  test('their good parts work, and all other Services', async () => {
    await lab.exec('client', ['ip', 'route', 'add', '198.51.100.0/24', 'via', nodeA.address]);
    const addresses = ['10.96.5.1', '10.96.5.2', '10.96.5.3', '10.96.5.4'];
    const found = await Promise.all(addresses.map(address => ask(lab, onA.name, { address, port: 80, count: 20 })));
    expect(found).toEqual(addresses.map(() => answers([onB], fromPod(onA))));
    const external = await ask(lab, 'client', { address: '198.51.100.5', port: 80 });
    expect(external).toEqual(answers([onB], masqueradedAt(nodeA)));
    const count = enoughFor(lab.pods.length);
    const all = await ask(lab, 'client', { address: nodeB.address, port: web.nodePort, count });
    expect(all).toEqual(answers(lab.pods, masqueradedAt(nodeB)));
  });

  test('namespaces, Services and ports with names of 63 characters carry traffic, those that differ in the last one too', async () => {
    const name = (letter: string, last: string) => `${letter.repeat(62)}${last}`;
    const namespace = name('n', 'a');
    await lab.api.create('/api/v1/namespaces', { metadata: { name: namespace } });
    const make = async (last: string, clusterIP: string, pod: PodState) => {
      const ports = [
        { name: name('p', 'a'), port: 80, nodePort: last === 'a' ? 30511 : 30513 },
        { name: name('p', 'b'), port: 81, nodePort: last === 'a' ? 30512 : 30514 },
      ];
      await createService(lab, { name: name('s', last), namespace, clusterIP, ports }, [endpoint(pod)]);
      await awaitUsed(lab, { service: `${namespace}/${name('s', last)}`, pods: [pod] });
    };
    await make('a', '10.96.5.11', onA);
    await make('b', '10.96.5.12', onB);
    const targets = [
      { pod: onA, address: '10.96.5.11', port: 80 },
      { pod: onA, address: nodeA.address, port: 30512 },
      { pod: onB, address: '10.96.5.12', port: 81 },
      { pod: onB, address: nodeA.address, port: 30513 },
    ];
    const found = await Promise.all(targets.map(({ address, port }) => ask(lab, nodeA.name, { address, port })));
    expect(found).toEqual(targets.map(({ pod }) => answers([pod], masqueradedAt(nodeA))));
  });

  test('a list from the beginning repeats no line', async () => {
    const listsOf = (node: string) => logLines(lab, node).filter(({ msg }) => msg.includes(': complete list by '));
    const before = nodes.map(({ name }) => ({ name, lines: linesOf(name), lists: listsOf(name) }));
    // A version that no watcher of theirs has seen: nobody can go on from where it was.
    await lab.api.create('/api/v1/namespaces', { metadata: { name: 'newest' } });
    await lab.dropWatches();
    for (const { name, lines, lists } of before) {
      // Services, EndpointSlices and Nodes, each anew.
      await eventually(() => expect(listsOf(name)).toHaveLength(lists.length + 3));
      expect(linesOf(name)).toEqual(lines);
    }
  });

  test('what is mended has one line that says so, and works', async () => {
    const logged = new Map(nodes.map(({ name }) => [name, linesOf(name).length]));
    const mended = serviceObject({ name: 'bad-cluster-ip', clusterIP: '10.96.5.6', ports: withNodePort(30501) });
    await lab.api.delete(`${servicesPath()}/bad-cluster-ip`);
    await lab.api.create(servicesPath(), mended);
    await lab.api.patch(`${slicesPath()}/bad-endpoint`, { endpoints: [endpoint(onA)] });
    await awaitUsed(lab, { service: 'default/bad-cluster-ip', pods: [onB] });
    await awaitUsed(lab, { service: 'default/bad-endpoint', pods: [onA] });
    expect(await ask(lab, onA.name, { address: '10.96.5.6', port: 80 })).toEqual(answers([onB], fromPod(onA)));
    for (const { name } of nodes) {
      const lines = linesOf(name).slice(logged.get(name));
      expect(lines.map(({ level, msg }) => `${level}: ${msg}`).toSorted()).toEqual([
        'info: EndpointSlice default/bad-endpoint: the problems are gone',
        'info: Service default/bad-cluster-ip: the problems are gone',
      ]);
    }
  });
});
