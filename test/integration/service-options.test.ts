import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { clientAddress, clientAddress6, nodes, podPort } from '../../src/lab/layout.ts';
import {
  ask,
  awaitUsed,
  createService,
  describeLab,
  endpoint,
  eventually,
  labName,
  logLines,
  outcomes,
  serviceObject,
  servicesPath,
  sliceObject,
  slicesPath,
  withNodePort,
} from './daemon-lab.ts';

const [nodeA, nodeB] = nodes;
/** How often and how long to try where nobody shall answer. */
const inVain = { count: 3, timeoutMs: 600 };

describeLab('what a Service or an operator can ask for beyond the API', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: labName('opt') });
  });
  afterAll(async () => {
    await lab.close();
  });

  const annotate = (name: string, key: string, value: string | null) =>
    lab.api.patch(`${servicesPath()}/${name}`, { metadata: { annotations: { [`kproxy-ts.dev/${key}`]: value } } });

  test('NodePorts take only the sources that the annotation allows, from everywhere, and everybody once it is gone', async () => {
    const fields = {
      name: 'guarded',
      clusterIP: '10.96.8.1',
      clusterIP6: 'fd00:10:96::81',
      ports: withNodePort(30_801),
    };
    const ranges = `${clientAddress}/32, ${nodeB.address}/32`;
    const annotations = { 'kproxy-ts.dev/node-port-source-ranges': ranges };
    await createService(
      lab,
      { ...fields, annotations },
      lab.pods.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/guarded', pods: lab.pods });
    const pod = lab.pods[0]!.name;
    for (const protocol of ['tcp', 'udp'] as const) {
      const to = { address: nodeA.address, port: 30_801, protocol };
      expect((await lab.probe('client', { ...to, count: 10 })).failures).toEqual([]);
      expect((await lab.probe(nodeB.name, { ...to, count: 10 })).failures).toEqual([]);
      expect(await ask(lab, pod, { ...to, ...inVain })).toEqual(['timeout']);
      expect(await ask(lab, nodeA.name, { ...to, ...inVain })).toEqual(['timeout']);
      // The cluster IP isn't what the annotation is about.
      expect((await lab.probe(pod, { ...to, address: fields.clusterIP, port: 80, count: 10 })).failures).toEqual([]);
    }
    const warned = logLines(lab, nodeA.name).map(({ msg }) => msg);
    if (lab.hasIPv6) {
      expect(warned).toContainEqual(expect.stringMatching(/^Service default\/guarded.*no range is IPv6/));
    }
    await annotate('guarded', 'node-port-source-ranges', null);
    await eventually(async () => {
      expect(outcomes(await lab.probe(pod, { address: nodeA.address, port: 30_801, timeoutMs: 300 }))).not.toContain(
        'timeout',
      );
    });
  });

  test('a NodePort guarded for one family of sources: the ranges of the other count there', async () => {
    if (!lab.hasIPv6) return;
    const fields = {
      name: 'guarded-6',
      clusterIP: '10.96.8.2',
      clusterIP6: 'fd00:10:96::82',
      ports: withNodePort(30_802),
    };
    const annotations = { 'kproxy-ts.dev/node-port-source-ranges': `2001:db8::/32,${clientAddress6}/128` };
    await lab.api.create(servicesPath(), serviceObject({ ...fields, annotations }));
    const endpoints = lab.pods.map(({ ip6, node }) => ({
      addresses: [ip6],
      nodeName: node,
      conditions: { ready: true },
    }));
    const { name, ports } = fields;
    await lab.api.create(slicesPath(), sliceObject({ name, ports, endpoints, addressType: 'IPv6' }));
    await awaitUsed(lab, { service: 'default/guarded-6', pods: lab.pods, family: 'IPv6' });
    const to = { address: nodeA.address6, port: 30_802 };
    expect((await lab.probe('client', { ...to, count: 10 })).failures).toEqual([]);
    expect(await ask(lab, nodeB.name, { ...to, ...inVain })).toEqual(['timeout']);
  });

  test('with affinity of the whole Service a client goes to one pod by all its ports, and back to its own by each', async () => {
    const ports = [1, 2, 3].map(n => ({ name: `p${n}`, port: 80 + n }));
    const sessionAffinityConfig = { clientIP: { timeoutSeconds: 600 } };
    const spec = { sessionAffinity: 'ClientIP', sessionAffinityConfig };
    const annotations = { 'kproxy-ts.dev/session-affinity-scope': 'Service' };
    await createService(
      lab,
      { name: 'whole', clusterIP: '10.96.8.3', ports, spec, annotations },
      lab.pods.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/whole', pods: lab.pods });
    for (const from of [lab.pods[0]!.name, lab.pods.at(-1)!.name, nodeB.name]) {
      // One after the other: of connections that begin at once each may choose.
      const pods: string[] = [];
      for (let i = 0; i < 9; i += 1) {
        const { replies } = await lab.probe(from, { address: '10.96.8.3', port: 81 + (i % 3) });
        pods.push(...replies.map(({ pod }) => pod));
      }
      expect(pods).toHaveLength(9);
      expect(new Set(pods).size, from).toBe(1);
    }
  });

  test('external IPs outside of what the operator allows are left out, with a line, and come back with the permission', async () => {
    const fields = { name: 'outside', clusterIP: '10.96.8.4', ports: [{ port: 80 }] };
    const spec = { externalIPs: ['192.168.77.240', '192.168.77.241'] };
    await createService(
      lab,
      { ...fields, spec },
      lab.pods.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/outside', pods: lab.pods });
    const rules = async () => (await lab.exec(nodeA.name, ['iptables-nft-save', '-t', 'nat'])).stdout;
    for (const ip of spec.externalIPs) expect(await rules()).toContain(ip);
    const file = lab.configurationFile(nodeA.name);
    const before = readFileSync(file, 'utf8');
    const put = (text: string) => {
      writeFileSync(`${file}.new`, text);
      renameSync(`${file}.new`, file);
    };
    put(
      `${before}\n---\napiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\nservices: { allowedExternalIPs: [192.168.77.240/32] }\n`,
    );
    await eventually(async () => expect(await rules()).not.toContain('192.168.77.241'));
    expect(await rules()).toContain('192.168.77.240');
    expect(logLines(lab, nodeA.name).map(({ msg }) => msg)).toContainEqual(
      expect.stringMatching(/^Service default\/outside.*192\.168\.77\.241 is in none of allowedExternalIPs/),
    );
    put(before);
    await eventually(async () => expect(await rules()).toContain('192.168.77.241'));
  });

  test('each Service counts its connections and what was refused, once that is asked for', async () => {
    const fields = { name: 'counted', clusterIP: '10.96.8.6', ports: withNodePort(30_806) };
    await createService(
      lab,
      fields,
      lab.pods.map(pod => endpoint(pod)),
    );
    await createService(lab, { name: 'empty', clusterIP: '10.96.8.7', ports: [{ port: 80 }] }, []);
    await awaitUsed(lab, { service: 'default/counted', pods: lab.pods });
    await awaitUsed(lab, { service: 'default/empty', pods: [] });
    const series = async (service: string) => {
      const { stdout } = await lab.exec(nodeA.name, ['curl', '-s', 'http://127.0.0.1:10249/metrics']);
      return stdout
        .split('\n')
        .filter(line => line.startsWith('kproxy_service_') && line.includes(`service="${service}"`));
    };
    expect(await series('counted')).toEqual([]);
    const file = lab.configurationFile(nodeA.name);
    const before = readFileSync(file, 'utf8');
    writeFileSync(
      `${file}.new`,
      `${before}\n---\napiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\nmetrics: { perService: true }\n`,
    );
    renameSync(`${file}.new`, file);
    await eventually(async () => expect((await series('counted')).length).toBeGreaterThan(0));
    const pod = lab.pods[0]!.name;
    await lab.probe(pod, { address: fields.clusterIP, port: 80, count: 7 });
    await lab.probe('client', { address: nodeA.address, port: 30_806, count: 5, protocol: 'udp' });
    await lab.probe(pod, { address: '10.96.8.7', port: 80, count: 3 });
    const of = (port: string, protocol: string) =>
      `namespace="default",service="counted",port="${port}",protocol="${protocol}",ip_family="IPv4"`;
    expect(await series('counted')).toEqual(
      expect.arrayContaining([
        `kproxy_service_connections_total{${of('tcp', 'TCP')},address="clusterIP"} 7`,
        `kproxy_service_connections_total{${of('udp', 'UDP')},address="nodePort"} 5`,
        `kproxy_service_connections_total{${of('tcp', 'TCP')},address="nodePort"} 0`,
      ]),
    );
    expect(await series('empty')).toEqual([
      `kproxy_service_refused_total{namespace="default",service="empty",port="",protocol="TCP",ip_family="IPv4",reason="no endpoints"} 3`,
    ]);
    writeFileSync(`${file}.new`, before);
    renameSync(`${file}.new`, file);
    await eventually(async () => expect(await series('counted')).toEqual([]));
  });

  test('a NodePort answers on 127.0.0.1, and nobody else reaches what listens there', async () => {
    await createService(
      lab,
      { name: 'local', clusterIP: '10.96.8.5', ports: withNodePort(30_805) },
      lab.pods.map(pod => endpoint(pod)),
    );
    await awaitUsed(lab, { service: 'default/local', pods: lab.pods });
    for (const protocol of ['tcp', 'udp'] as const) {
      const to = { address: '127.0.0.1', port: 30_805, protocol };
      const { replies, failures } = await lab.probe(nodeA.name, { ...to, count: 40 });
      expect(failures).toEqual([]);
      expect(new Set(replies.map(({ pod }) => pod)).size).toBe(lab.pods.length);
    }
    // From the network to 127.0.0.1 of a node: routed there by hand, as an attacker on the same network can (CVE-2020-8558).
    await lab.exec('client', ['ip', 'addr', 'del', '127.0.0.1/8', 'dev', 'lo']);
    await lab.exec('client', ['sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1']);
    await lab.exec('client', ['ip', 'route', 'add', '127.0.0.1/32', 'via', nodeA.address]);
    const toHealth = { address: '127.0.0.1', port: 10_249, ...inVain };
    expect(await ask(lab, 'client', toHealth)).toEqual(['timeout']);
    // The way itself is open: without the guard the same packets arrive.
    const { stdout } = await lab.exec(nodeA.name, ['iptables-nft', '-S', 'KUBE-PROXY-LOCALNET', '-v']);
    expect(Number(/-j DROP -c (\d+)|-c (\d+) \d+ -j DROP/.exec(stdout)?.slice(1).find(Boolean) ?? 0)).toBeGreaterThan(
      0,
    );
    expect(podPort).not.toBe(10_249);
  });
});
