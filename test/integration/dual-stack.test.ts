import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { clientAddress6, healthzPort, nodeLayout, nodes, web } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import {
  answers,
  ask,
  awaitUsed,
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  endpoint6,
  enoughFor,
  eventually,
  fromPod,
  labName,
  logLines,
  masqueradedAt,
  type ServiceFields,
  serviceObject,
  servicesPath,
  setEndpoints,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA, nodeB] = nodes;
const protocols = ['tcp', 'udp'] as const;

const masqueradedAt6 =
  (node: (typeof nodes)[number]) =>
  (pod: PodState): string =>
    pod.node === node.name ? node.gateway6 : node.address6;

const fromPod6 =
  (client: PodState) =>
  (pod: PodState): string =>
    pod.name === client.name ? nodeLayout(pod.node).gateway6 : client.ip6;

interface Path {
  readonly from: string;
  readonly address: string;
  readonly port: number;
  readonly sourceOf: (pod: PodState) => string;
}

describeLab('two families', () => {
  let lab: Lab;
  let podOnA: PodState;
  let podOnB: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('dual') });
    [podOnA, podOnB] = lab.pods as [PodState, PodState];
    for (const family of ['IPv4', 'IPv6'] as const)
      await awaitUsed(lab, { service: 'default/web', pods: lab.pods, family });
  });
  afterAll(async () => {
    await lab.close();
  });

  /** Every path leads to all of these pods and nobody else, over TCP and UDP. */
  async function checkPaths(paths: readonly Path[], pods: readonly PodState[]): Promise<void> {
    const count = enoughFor(pods.length);
    const rows = paths.flatMap(path => protocols.map(protocol => ({ ...path, protocol })));
    const name = ({ protocol, from, address, port }: (typeof rows)[number]) =>
      `${protocol} ${from} to ${address} ${port}`;
    const found = await Promise.all(
      rows.map(async row => {
        const { from, address, port, protocol } = row;
        return [name(row), await ask(lab, from, { address, port, protocol, count })];
      }),
    );
    const wanted = rows.map(row => [name(row), answers(pods, row.sourceOf)]);
    expect(Object.fromEntries(found)).toEqual(Object.fromEntries(wanted));
  }

  /** A Service of IPv6 only, with these endpoints. */
  async function createService6(
    fields: Omit<ServiceFields, 'clusterIP'> & { clusterIP6: string },
    pods: readonly PodState[],
  ) {
    const { name, clusterIP6, ports, spec = {} } = fields;
    const single = { ipFamilies: ['IPv6'], clusterIPs: [clusterIP6], ...spec };
    await lab.api.create(servicesPath(), serviceObject({ name, clusterIP: clusterIP6, ports, spec: single }));
    const endpoints = pods.map(pod => endpoint6(pod));
    await lab.api.create(slicesPath(), sliceObject({ name, ports, endpoints, addressType: 'IPv6' }));
    await awaitUsed(lab, { service: `default/${name}`, pods, family: 'IPv6' });
  }

  /** The rules of a node in one family that name a Service. */
  async function rulesOf(node: string, family: 4 | 6, service: string): Promise<string[]> {
    const { stdout } = await lab.exec(node, [family === 6 ? 'ip6tables-nft-save' : 'iptables-nft-save']);
    return stdout.split('\n').filter(line => line.includes(`"${service}`));
  }

  test('a pod keeps its IPv6 address on the way to a cluster IP; nodes and outsiders are masqueraded', async () => {
    const to = { address: web.clusterIP6, port: web.port };
    const pods = [podOnA, podOnB].map(pod => ({ from: pod.name, ...to, sourceOf: fromPod6(pod) }));
    const others = nodes.map(node => ({ from: node.name, ...to, sourceOf: masqueradedAt6(node) }));
    await checkPaths([...pods, ...others, { from: 'client', ...to, sourceOf: masqueradedAt6(nodeA) }], lab.pods);
  });

  test('a nodePort answers on every IPv6 address of both nodes, wherever the client is', async () => {
    const paths = ['client', podOnA.name, podOnB.name, nodeA.name, nodeB.name].flatMap(from =>
      nodes.map(node => ({ from, address: node.address6, port: web.nodePort, sourceOf: masqueradedAt6(node) })),
    );
    const gateway = { from: podOnB.name, address: nodeA.gateway6, port: web.nodePort, sourceOf: masqueradedAt6(nodeA) };
    await checkPaths([...paths, gateway], lab.pods);
  });

  test('a nodePort on ::1 is left alone', async () => {
    expect(await ask(lab, nodeA.name, { address: '::1', port: web.nodePort, timeoutMs: 900 })).toEqual([
      'ECONNREFUSED',
    ]);
  });

  test('a pod reaches itself over IPv6 when it is the only endpoint', async () => {
    await createService6({ name: 'self6', clusterIP6: 'fd00:10:96::101', ports: withNodePort(30501) }, [podOnA]);
    const sourceOf = masqueradedAt6(nodeA);
    const targets = [
      { address: 'fd00:10:96::101', port: 80 },
      { address: nodeA.address6, port: 30501 },
    ];
    await checkPaths(
      targets.map(to => ({ from: podOnA.name, ...to, sourceOf })),
      [podOnA],
    );
    for (const { name } of nodes) expect(await rulesOf(name, 4, 'default/self6')).toEqual([]);
  });

  test('without endpoints, IPv6 connections are refused at once wherever they come from', async () => {
    await createService6({ name: 'empty6', clusterIP6: 'fd00:10:96::102', ports: withNodePort(30502) }, []);
    const targets = [
      { address: 'fd00:10:96::102', port: 80 },
      ...nodes.map(({ address6 }) => ({ address: address6, port: 30502 })),
    ];
    const froms = ['client', podOnA.name, podOnB.name, nodeA.name, nodeB.name];
    // A lost SYN is sent again after 1 s: an answer within less is one to the first. One member asks after the other: on a machine
    // that is busy with thirty processes, an answer could be there and not be read.
    const outcome: string[] = [];
    for (const from of froms) {
      for (const target of targets) {
        for (const protocol of protocols) {
          const found = await ask(lab, from, { ...target, protocol, timeoutMs: 900 });
          outcome.push(`${found}: ${protocol} from ${from} to ${target.address}`);
        }
      }
    }
    expect(outcome.filter(line => !line.startsWith('ECONNREFUSED'))).toEqual([]);
  });

  test('policy Local keeps the address of an IPv6 client, and drops where no endpoint is local', async () => {
    const spec = { externalTrafficPolicy: 'Local' };
    await createService6({ name: 'local6', clusterIP6: 'fd00:10:96::103', ports: withNodePort(30503), spec }, [podOnA]);
    const from = 'client';
    const port = 30503;
    await checkPaths([{ from, address: nodeA.address6, port, sourceOf: () => clientAddress6 }], [podOnA]);
    expect(await ask(lab, from, { address: nodeB.address6, port, timeoutMs: 600 })).toEqual(['timeout']);
    await checkPaths([{ from: podOnB.name, address: nodeB.address6, port, sourceOf: fromPod6(podOnB) }], [podOnA]);
  });

  test('an externalIP is served in its own family', async () => {
    const [ip4, ip6] = ['203.0.113.7', '2001:db8:7::7'];
    await lab.exec('client', ['ip', 'route', 'add', ip4, 'via', nodeA.address]);
    await lab.exec('client', ['ip', 'route', 'add', ip6, 'via', nodeA.address6]);
    const fields = { name: 'outside', clusterIP: '10.96.5.4', clusterIP6: 'fd00:10:96::104', ports: bothProtocols };
    await createService(lab, { ...fields, spec: { externalIPs: [ip4, ip6] } }, [endpoint(podOnB)]);
    const slice = { name: 'outside-6', service: 'outside', ports: bothProtocols, addressType: 'IPv6' };
    await lab.api.create(slicesPath(), sliceObject({ ...slice, endpoints: [endpoint6(podOnA)] }));
    await awaitUsed(lab, { service: 'default/outside', pods: [podOnB] });
    await awaitUsed(lab, { service: 'default/outside', pods: [podOnA], family: 'IPv6' });
    // Each family goes to its own endpoints.
    await checkPaths([{ from: 'client', address: ip4, port: 80, sourceOf: masqueradedAt(nodeA) }], [podOnB]);
    await checkPaths([{ from: 'client', address: ip6, port: 80, sourceOf: masqueradedAt6(nodeA) }], [podOnA]);
  });

  test('a Service that prefers two families gets both, one of IPv4 has no rule in IPv6', async () => {
    const base = { apiVersion: 'v1', kind: 'Service' };
    const spec = { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] };
    const both = { ...base, metadata: { name: 'prefers' }, spec: { ...spec, ipFamilyPolicy: 'PreferDualStack' } };
    const only = { ...base, metadata: { name: 'only4' }, spec: { ...spec, ipFamilyPolicy: 'SingleStack' } };
    for (const object of [both, only]) await lab.api.create(servicesPath(), object);
    for (const family of ['IPv4', 'IPv6'] as const)
      await awaitUsed(lab, { service: 'default/prefers', pods: lab.pods, family });
    await awaitUsed(lab, { service: 'default/only4', pods: lab.pods });
    const { body } = await lab.api.get(`${servicesPath()}/prefers`);
    const { clusterIPs } = (body as unknown as { spec: { clusterIPs: string[] } }).spec;
    const paths = clusterIPs.map(address => {
      const sourceOf = address.includes(':') ? fromPod6(podOnA) : fromPod(podOnA);
      return { from: podOnA.name, address, port: 80, sourceOf };
    });
    const count = enoughFor(lab.pods.length);
    expect(paths).toHaveLength(2);
    for (const { from, address, port, sourceOf } of paths)
      expect(await ask(lab, from, { address, port, count })).toEqual(answers(lab.pods, sourceOf));
    for (const { name } of nodes) {
      expect((await rulesOf(name, 4, 'default/only4')).length).toBeGreaterThan(0);
      expect(await rulesOf(name, 6, 'default/only4')).toEqual([]);
    }
  });

  test('when ip6tables breaks on a node, IPv4 goes on, /readyz names IPv6, and it comes back by itself', async () => {
    const ports = bothProtocols;
    const fields = { name: 'parted', clusterIP: '10.96.5.5', clusterIP6: 'fd00:10:96::155', ports };
    await createService(lab, fields, [endpoint(podOnB)]);
    const slice6 = { name: 'parted-6', service: 'parted', ports, addressType: 'IPv6' };
    await lab.api.create(slicesPath(), sliceObject({ ...slice6, endpoints: [endpoint6(podOnB)] }));
    const bin = join(lab.directory, 'broken-bin');
    const isBroken = join(bin, 'broken');
    await mkdir(bin);
    for (const tool of ['save', 'restore'].map(verb => `ip6tables-nft-${verb}`)) {
      const real = (await lab.exec(nodeA.name, ['sh', '-c', `command -v ${tool}`])).stdout.trim();
      const text = `#!/bin/sh\n[ -e '${isBroken}' ] && { echo 'broken for the test' >&2; exit 1; }\nexec ${real} "$@"\n`;
      await writeFile(join(bin, tool), text);
      await chmod(join(bin, tool), 0o755);
    }
    await lab.stopDaemon(nodeA.name);
    await lab.startDaemon(nodeA.name, { env: { PATH: `${bin}:${process.env.PATH}:/usr/sbin:/sbin` } });
    await awaitUsed(lab, { service: 'default/parted', pods: [podOnB], family: 'IPv6' });

    await writeFile(isBroken, '');
    const swap = async () => {
      await setEndpoints(lab, 'parted', [endpoint(podOnA)]);
      await setEndpoints(lab, 'parted-6', [endpoint6(podOnA)]);
    };
    await swap();
    const to4 = { address: '10.96.5.5', port: 80, count: enoughFor(2) };
    const to6 = { address: 'fd00:10:96::155', port: 80, count: enoughFor(2) };
    const sourceOf = masqueradedAt(nodeA);
    await eventually(async () => expect(await ask(lab, nodeA.name, to4)).toEqual(answers([podOnA], sourceOf)));
    // IPv6 stays as it was: an old endpoint that still answers is better than none.
    expect(await ask(lab, nodeA.name, to6)).toEqual(answers([podOnB], masqueradedAt6(nodeA)));
    const url = `http://127.0.0.1:${healthzPort}/readyz`;
    const readyz = async () => (await lab.exec(nodeA.name, ['curl', '-s', url])).stdout;
    await eventually(async () =>
      expect(JSON.parse(await readyz())).toMatchObject({
        ready: false,
        missing: [{ part: 'IPv6', reason: expect.stringContaining('broken for the test') }],
      }),
    );
    const broken = logLines(lab, nodeA.name).filter(({ msg }) => msg.startsWith('rules could not be programmed'));
    expect(new Set(broken.map(({ family }) => family))).toEqual(new Set(['IPv6']));

    await rm(isBroken);
    await awaitUsed(lab, { service: 'default/parted', pods: [podOnA], family: 'IPv6' });
    expect(await ask(lab, nodeA.name, to6)).toEqual(answers([podOnA], masqueradedAt6(nodeA)));
    await eventually(async () => expect(JSON.parse(await readyz())).toMatchObject({ ready: true }));
  });
});
