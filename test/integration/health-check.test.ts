import { appendFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { nodes, web } from '../../src/lab/layout.ts';
import type { PodState } from '../../src/lab/state.ts';
import { ExecError } from '../../src/linux/exec.ts';
import {
  bothProtocols,
  createService,
  describeLab,
  endpoint,
  endpoint6,
  eventually,
  labName,
  logLines,
  type ServiceFields,
  servicesPath,
  setEndpoints,
  sliceObject,
  slicesPath,
} from './daemon-lab.ts';
import { ExtraDaemon } from './extra-daemon.ts';

const [nodeA, nodeB] = nodes;
const eventsPath = '/apis/events.k8s.io/v1/namespaces/default/events';

interface EventObject {
  readonly regarding: { readonly kind: string; readonly name: string; readonly uid: string };
  readonly reportingInstance: string;
  readonly reason: string;
  readonly note: string;
  readonly type: string;
  readonly series?: { readonly count: number };
}

describeLab('health check node ports and Events', () => {
  let lab: Lab;
  let onA: PodState;
  let onB: PodState;

  beforeAll(async () => {
    lab = await createLab({ name: labName('hc') });
    onA = lab.pods.find(pod => pod.node === nodeA.name)!;
    onB = lab.pods.find(pod => pod.node === nodeB.name)!;
  });
  afterAll(async () => {
    await lab.close();
  });

  const balanced = (name: string, last: number, healthCheckNodePort: number): ServiceFields => ({
    name,
    clusterIP: `10.96.3.${last}`,
    clusterIP6: `fd00:10:96::3${last}`,
    ports: bothProtocols,
    spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort },
  });

  /** A Service with these pods as endpoints, in both families. */
  async function create(fields: ServiceFields, pods: readonly PodState[], pods6 = pods): Promise<void> {
    const { name, ports } = fields;
    await createService(
      lab,
      fields,
      pods.map(pod => endpoint(pod)),
    );
    const endpoints = pods6.map(pod => endpoint6(pod));
    const six = { name: `${name}-6`, service: name, ports, endpoints, addressType: 'IPv6' };
    await lab.api.create(slicesPath(), sliceObject(six));
  }

  /** What the off-cluster client is answered: status, the weight that load balancers read, and the body; else curl's exit status. */
  async function check(address: string, port: number) {
    const host = address.includes(':') ? `[${address}]` : address;
    try {
      const url = `http://${host}:${port}/healthz`;
      const { stdout } = await lab.exec('client', ['curl', '-gsi', '--max-time', '2', url]);
      const [head = '', body = ''] = stdout.split('\r\n\r\n');
      const header = (name: string) => new RegExp(`^${name}: (.*)\\r?$`, 'im').exec(head)?.[1];
      return {
        status: Number(head.split(' ')[1]),
        weight: header('x-load-balancing-endpoint-weight'),
        type: header('content-type'),
        sniff: header('x-content-type-options'),
        body: JSON.parse(body) as unknown,
      };
    } catch (error) {
      if (error instanceof ExecError) return { exit: error.exitCode };
      throw error;
    }
  }

  const answer = (name: string, localEndpoints: number) => ({
    status: localEndpoints > 0 ? 200 : 503,
    weight: String(localEndpoints),
    type: 'application/json',
    sniff: 'nosniff',
    body: { service: { namespace: 'default', name }, localEndpoints, serviceProxyHealthy: true },
  });
  const refused = { exit: 7 };

  async function events(reason: string, name: string): Promise<readonly EventObject[]> {
    const all = (await lab.api.list(eventsPath)) as unknown as readonly EventObject[];
    return all.filter(event => event.reason === reason && event.regarding.name === name);
  }

  test('each node answers for its own endpoints, in both families, and follows them', async () => {
    await create(balanced('lb', 1, 30901), [onA, onB], [onA]);
    await eventually(async () => expect(await check(nodeA.address, 30901)).toEqual(answer('lb', 1)));
    await eventually(async () => expect(await check(nodeA.address6, 30901)).toEqual(answer('lb', 1)));
    await eventually(async () => expect(await check(nodeB.address, 30901)).toEqual(answer('lb', 1)));
    await eventually(async () => expect(await check(nodeB.address6, 30901)).toEqual(answer('lb', 0)));
    // Terminating endpoints still get traffic; load balancers shall send no more.
    await setEndpoints(lab, 'lb', [endpoint(onA, { ready: false, serving: true, terminating: true }), endpoint(onB)]);
    await eventually(async () => expect(await check(nodeA.address, 30901)).toEqual(answer('lb', 0)));
    expect(await check(nodeB.address, 30901)).toEqual(answer('lb', 1));
    await lab.api.patch(`${servicesPath()}/lb`, { spec: { externalTrafficPolicy: 'Cluster', healthCheckNodePort: 0 } });
    await eventually(async () => expect(await check(nodeB.address, 30901)).toEqual(refused));
    await eventually(async () => expect(await check(nodeA.address6, 30901)).toEqual(refused));
  });

  test('a Service that asks for no health check has none', async () => {
    await createService(lab, { name: 'plain', clusterIP: '10.96.3.2', ports: bothProtocols }, [endpoint(onA)]);
    await create(balanced('after', 3, 30903), [onA]);
    await eventually(async () => expect(await check(nodeA.address, 30903)).toEqual(answer('after', 1)));
    expect(await check(nodeA.address, 30904)).toEqual(refused);
  });

  test('a port that another program has: an Event, one line, and the port as soon as it is free', async () => {
    const stop = new AbortController();
    const script = "require('net').createServer().listen(30905, () => console.log('listens'))";
    const listens = Promise.withResolvers<void>();
    const other = lab
      .exec(nodeA.name, [process.execPath, '-e', script], { signal: stop.signal, onOutput: () => listens.resolve() })
      .catch(() => undefined);
    await listens.promise;
    await create(balanced('taken', 5, 30905), [onA, onB]);
    await eventually(async () => expect(await check(nodeB.address, 30905)).toEqual(answer('taken', 1)));
    await eventually(async () => {
      const found = await events('FailedToStartServiceHealthcheck', 'taken');
      // One for each family: the other program has both wildcard addresses.
      expect(found.map(({ note }) => note).toSorted()).toEqual([
        'node node-a failed to start healthcheck "default/taken" on port 30905: 0.0.0.0: the address is in use',
        'node node-a failed to start healthcheck "default/taken" on port 30905: ::: the address is in use',
      ]);
      expect(found[0]).toMatchObject({ type: 'Warning', reportingInstance: 'node-a', regarding: { kind: 'Service' } });
    });
    const uid = (await lab.api.get(`${servicesPath()}/taken`)).body.metadata.uid;
    expect((await events('FailedToStartServiceHealthcheck', 'taken'))[0]?.regarding.uid).toBe(uid);
    stop.abort();
    await other;
    await eventually(async () => expect(await check(nodeA.address, 30905)).toEqual(answer('taken', 1)));
    await eventually(async () => expect(await check(nodeA.address6, 30905)).toEqual(answer('taken', 1)));
    const lines = logLines(lab, nodeA.name).filter(({ msg }) => msg.includes('30905'));
    expect(lines.map(({ msg }) => msg.replace(/: .*/, '')).toSorted()).toEqual([
      'health check node port 30905 listens after all',
      'health check node port 30905 listens after all',
      'health check node port 30905 of default/taken is not served',
      'health check node port 30905 of default/taken is not served',
    ]);
  });

  test('each daemon says that it starts, and a Service that loses an address hears of it from each node', async () => {
    for (const { name } of nodes) {
      const [event] = await events('Starting', name);
      expect(event).toMatchObject({ type: 'Normal', regarding: { kind: 'Node', uid: name }, reportingInstance: name });
    }
    const ports = [{ name: 'http', port: 80 }];
    const contested = (name: string, clusterIP: string) =>
      createService(lab, { name, clusterIP, ports, spec: { externalIPs: ['203.0.113.7'] } }, [endpoint(onA)]);
    await contested('a-first', '10.96.3.6');
    await contested('b-second', '10.96.3.7');
    await eventually(async () => {
      const found = await events('AddressContested', 'b-second');
      expect(found.map(({ note }) => note)).toEqual(
        nodes.map(
          () => '203.0.113.7 80/TCP belongs to default/a-first:http, so default/b-second:http is not served there',
        ),
      );
    });
    expect(await events('AddressContested', 'a-first')).toEqual([]);
  });

  test('a hand-over leaves no gap for probes', async () => {
    await create(balanced('moved', 8, 30908), [onA]);
    await eventually(async () => expect(await check(nodeA.address, 30908)).toEqual(answer('moved', 1)));
    const url = `http://${nodeA.address}:30908/`;
    const loop = `while [ ! -e ${lab.directory}/enough ]; do curl -s -o /dev/null -w '%{http_code}\\n' ${url}; done`;
    const probing = lab.exec('client', ['sh', '-c', loop]);
    const next = await ExtraDaemon.start(lab, nodeA.name, { name: 'next' });
    await next.writes();
    // The one before answers 5 s longer at most; what comes after is the new one's alone.
    await eventually(async () => expect(await listeners()).toBe(4), 10_000);
    await eventually(async () => expect(await listeners()).toBe(2), 10_000);
    expect(await check(nodeA.address, 30908)).toEqual(answer('moved', 1));
    await lab.exec('client', ['touch', `${lab.directory}/enough`]);
    const codes = (await probing).stdout.trim().split('\n');
    // One that has just arrived when the one before lets go of the port is lost with it (net.ipv4.tcp_migrate_req would keep it).
    const others = codes.filter(code => code !== '200');
    expect(others.length, String(others)).toBeLessThanOrEqual(1);
    expect(codes.length).toBeGreaterThan(20);
    await next.end('SIGTERM');
  });

  /** Sockets that listen on the port: one a process and family. */
  async function listeners(): Promise<number> {
    const { stdout } = await lab.exec(nodeA.name, ['ss', '-Hltn', 'sport', '=', ':30908']);
    return stdout.trim().split('\n').length;
  }

  test('with nodePortAddresses only these addresses answer, and those that the node gets or loses later', async () => {
    const more = '192.168.77.99';
    await create(balanced('some', 9, 30909), [onB]);
    await eventually(async () => expect(await check(nodeB.address6, 30909)).toEqual(answer('some', 1)));
    const file = lab.configurationFile(nodeB.name);
    appendFileSync(file, 'nodePortAddresses: [192.168.77.0/24, fd00:1234::/64]\n');
    await eventually(async () => expect(await check(nodeB.address6, 30909)).toEqual(refused));
    expect(await check(nodeB.address, 30909)).toEqual(answer('some', 1));
    const gateway = ['ss', '-Hltn', 'sport', '=', ':30909'] as const;
    expect((await lab.exec(nodeB.name, gateway)).stdout).not.toContain(nodeB.gateway);
    const { stdout } = await lab.exec(nodeB.name, ['ip', '-o', '-4', 'address', 'show', 'to', nodeB.address]);
    const device = stdout.split(/\s+/)[1]!;
    await lab.exec(nodeB.name, ['ip', 'address', 'add', `${more}/24`, 'dev', device]);
    await eventually(async () => expect(await check(more, 30909)).toEqual(answer('some', 1)));
    await lab.exec(nodeB.name, ['ip', 'address', 'delete', `${more}/24`, 'dev', device]);
    await eventually(async () => expect((await lab.exec(nodeB.name, gateway)).stdout).not.toContain(more));
    expect(await check(nodeB.address, 30909)).toEqual(answer('some', 1));
  });

  test('the metrics say what was measured', async () => {
    const metrics = async () => (await lab.exec(nodeB.name, ['curl', '-s', '127.0.0.1:10249/metrics'])).stdout;
    const value = async (name: string) =>
      Number(new RegExp(`^${name.replaceAll(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec(await metrics())?.[1] ?? Number.NaN);
    const programmed = 'kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"}';
    const before = (await value(programmed)) || 0;
    const annotations = { 'endpoints.kubernetes.io/last-change-trigger-time': new Date().toISOString() };
    await lab.api.patch(`${slicesPath()}/moved`, { metadata: { annotations }, endpoints: [endpoint(onB)] });
    await eventually(async () => expect(await value(programmed)).toBe(before + 1));
    expect(await value('kubeproxy_sync_proxy_rules_endpoint_changes_pending')).toBe(0);
    const rules = (await lab.exec(nodeB.name, ['iptables-nft-save', '-t', 'nat'])).stdout;
    const ours = rules.split('\n').filter(line => line.startsWith('-A KUBE-'));
    expect(await value('kubeproxy_sync_proxy_rules_iptables_total{table="nat",ip_family="IPv4"}')).toBe(ours.length);
    expect(await value('kubeproxy_iptables_ct_state_invalid_dropped_packets_total')).toBe(0);
    // The rule as it is, as if it had met five packets.
    const rule = ['-m', 'conntrack', '--ctstate', 'INVALID', '-j', 'DROP'];
    await lab.exec(nodeB.name, ['iptables-nft', '-R', 'KUBE-FORWARD', '1', ...rule, '-c', '5', '300']);
    expect(await value('kubeproxy_iptables_ct_state_invalid_dropped_packets_total')).toBe(5);
    const accepted = 'kubeproxy_iptables_localhost_nodeports_accepted_packets_total';
    expect(await value(accepted)).toBe(0);
    // Only node-a has NodePorts on loopback: node-b's nodePortAddresses are others by now.
    await lab.exec(nodeA.name, ['sysctl', '-qw', 'net.ipv4.conf.all.route_localnet=1']);
    const url = `http://127.0.0.1:${web.nodePort}/`;
    for (let i = 0; i < 3; i += 1) await lab.exec(nodeA.name, ['curl', '-s', '--max-time', '2', url]);
    const onNodeA = async () => (await lab.exec(nodeA.name, ['curl', '-s', '127.0.0.1:10249/metrics'])).stdout;
    expect(await onNodeA()).toContain(`${accepted} 3\n`);
  });
});
