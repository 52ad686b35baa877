/** The steps of docs/dns.md, "Leading kube-dns here", and back: node-b's server stands in for CoreDNS, node-a is the node that moves. */
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { clusterDns, nodes, webName } from '../../src/lab/layout.ts';
import { describeLab, labName } from './daemon-lab.ts';
import { askAllTheTime } from './dns-stream.ts';

const [nodeA, nodeB] = nodes;
const PODS = `/api/v1/namespaces/${clusterDns.namespace}/pods`;
const SERVICE = `/api/v1/namespaces/${clusterDns.namespace}/services/${clusterDns.name}`;
const SLICES = `/apis/discovery.k8s.io/v1/namespaces/${clusterDns.namespace}/endpointslices`;
const CORE_DNS = { 'k8s-app': null, role: 'coredns' };
const DAEMON_SET = { 'k8s-app': 'kproxy-ts', role: null };

describeLab('moving from CoreDNS', () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await createLab({ name: labName('dnsmove'), mode: '', dns: true });
    await lab.api.patch(`${PODS}/kproxy-ts-${nodeB.name}`, { metadata: { labels: { role: 'coredns' } } });
    await select(CORE_DNS);
    await enable(false);
    await untilServed(false);
    await vi.waitFor(() => expectEndpoints([nodeB.address]), { timeout: 10_000 });
  });
  afterAll(async () => {
    await lab?.close();
  });

  async function select(selector: object): Promise<void> {
    await lab.api.patch(SERVICE, { spec: { selector } });
  }

  async function enable(isEnabled: boolean): Promise<void> {
    const path = lab.configurationFile(nodeA.name);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.replace(/enabled: \w+/, `enabled: ${isEnabled}`));
  }

  async function untilServed(isServed: boolean): Promise<void> {
    const served = async () =>
      (await lab.exec(nodeA.name, ['ip', '-4', 'addr', 'show', 'dev', 'lo'])).stdout.includes(clusterDns.clusterIP);
    await vi.waitFor(async () => expect(await served()).toBe(isServed), { timeout: 10_000 });
  }

  /** Those that node-a's rules lead to. */
  async function expectEndpoints(addresses: readonly string[]): Promise<void> {
    const { stdout } = await lab.exec(nodeA.name, ['kproxy-ts', 'dump', 'kube-system/kube-dns:dns']);
    const seen = new Set([...stdout.matchAll(/^ +([\d.]+):5300 .* yes$/gm)].map(([, address]) => address));
    expect([...seen].toSorted()).toEqual(addresses);
  }

  test('and back loses no name of a pod, whatever step is taken', async () => {
    const asking = askAllTheTime(lab, 'web-1');
    await enable(true);
    await untilServed(true);
    expect((await lab.exec(nodeA.name, ['kproxy-ts', 'dns', 'query', webName])).stdout).toContain('NOERROR');
    await select(DAEMON_SET);
    await vi.waitFor(async () => expect(JSON.stringify(await lab.api.list(SLICES))).toContain(`"${nodeA.address}"`));
    await expectEndpoints([nodeB.address]); // its own server is left out
    await select(CORE_DNS);
    await vi.waitFor(() => expectEndpoints([nodeB.address]), { timeout: 10_000 });
    await enable(false);
    await untilServed(false);
    const { sent, lost, wrong } = await asking.end();
    expect(sent).toBeGreaterThan(100);
    expect({ lost, wrong }).toEqual({ lost: [], wrong: [] });
  });
});
