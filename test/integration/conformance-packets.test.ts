/** The packet flows of the vectors, and more of our own, by what this kernel does. The same traced: test/conformance/vectors.test.ts. */
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, it } from 'vitest';
import { obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { BACKENDS } from '../conformance/runner/backends.ts';
import type { PacketflowCase } from '../conformance/runner/packetflow.ts';
import { playFlows, runPackets } from '../conformance/runner/packets/run-packets.ts';
import type { Result } from '../conformance/runner/result.ts';
import { listAt, readVectors } from '../conformance/runner/vector-files.ts';
import { describeUnless } from './requires.ts';

const SCHEMA = 'kproxy-vectors/packetflow/v1';
const RUN_MS = 400_000;

async function flowsOf(directory: string): Promise<readonly PacketflowCase[]> {
  const files = await readVectors(fileURLToPath(new URL(`../conformance/${directory}`, import.meta.url)));
  return files.filter(({ schema }) => schema === SCHEMA).flatMap(file => listAt<PacketflowCase>(file, 'cases'));
}

const all = [...(await flowsOf('vectors')), ...(await flowsOf('more-vectors'))];
const flowsFor = (backend: string) => all.filter(({ backends = [backend] }) => backends.includes(backend));
const flows = flowsFor('iptables');
const lacking = await obstacle();

const lines = (results: readonly Result[]) =>
  results
    .filter(({ status }) => status === 'failed')
    .map(result => `${result.name}: ${'why' in result ? result.why : ''}`);

for (const backend of Object.keys(BACKENDS)) {
  describeUnless(lacking, `packet flows through ${backend}, with packets`, () => {
    const own = flowsFor(backend);
    let results: ReadonlyMap<PacketflowCase, readonly Result[]>;
    beforeAll(async () => {
      results = await playFlows(own, { backend });
    }, RUN_MS);

    it.each(own.map(flow => [flow.name, flow] as const))('%s', (_name, flow) => {
      const found = results.get(flow) ?? [];
      expect(found.some(({ status }) => status === 'passed')).toBe(true);
      expect(lines(found)).toEqual([]);
    });
  });
}

describeUnless(lacking, 'the packet runner sees', () => {
  const flowNamed = (name: string) => flows.filter(flow => flow.name === name);

  /** What fails when `script` has changed the node's rules behind the product's back. */
  async function failuresAfter(script: string, name: string): Promise<string> {
    const tamper = async (netns: string) => void (await run('sh', ['-ec', script], { netns }));
    return lines(await runPackets(flowNamed(name), { backend: 'iptables', tamper })).join('\n');
  }

  it('an endpoint that nobody should reach', async () => {
    const found = await failuresAfter(
      'iptables-nft -t nat -I KUBE-SERVICES -d 172.30.0.42 -p tcp --dport 80 -m statistic --mode random --probability 0.5 -j DNAT --to 10.180.9.9:80',
      'clusterip-general',
    );
    expect(found).toMatch(/several endpoints: [\s\S]*seen [^\n]*10\.180\.9\.9:80/);
    expect(found).not.toContain('simple ClusterIP');
  });

  it("an endpoint that isn't reached any more", async () => {
    const found = await failuresAfter(
      "iptables-nft-save -t nat | sed -n 's/^-A \\(KUBE-SVC-[A-Z0-9]* .*10.180.2.1:5353.*\\)/iptables-nft -t nat -D \\1/p' | sh -e",
      'clusterip-general',
    );
    expect(found).toMatch(/same port number, TCP: /);
  });

  it('a source that should have been rewritten', async () => {
    const found = await failuresAfter('iptables-nft -t nat -F KUBE-POSTROUTING', 'clusterip-general');
    expect(found).toMatch(/hairpin to ClusterIP: [\s\S]*seen +10\.180\.0\.1:80 with its own source/);
  });

  it('a source that should have stayed', async () => {
    const found = await failuresAfter('iptables-nft -t nat -I POSTROUTING -j MASQUERADE', 'clusterip-general');
    expect(found).toMatch(/simple ClusterIP: [\s\S]*seen +10\.180\.0\.1:80 masqueraded/);
    expect(found).toMatch(/unallocated ClusterIP inside the ServiceCIDR: [\s\S]*but with the source/);
  });

  it('silence instead of a refusal, and a refusal that is gone', async () => {
    const silent = await failuresAfter(
      'iptables-nft -I FORWARD -d 172.30.0.41 -j DROP && iptables-nft -F KUBE-EXTERNAL-SERVICES',
      'no-endpoints-reject',
    );
    expect(silent).toMatch(/pod to ClusterIP: [\s\S]*expected REJECT\nseen +DROP/);
    expect(silent).toMatch(/external to LB IP: [\s\S]*expected REJECT\nseen +none/);
  });

  it('a refusal, and an answer that is lost, instead of silence', async () => {
    const refused = await failuresAfter(
      'iptables-nft -I FORWARD -d 172.30.1.1 -j REJECT',
      'internal-traffic-policy-local-none-local',
    );
    expect(refused).toMatch(/pod to ClusterIP: [\s\S]*expected DROP\nseen +REJECT/);
    const lost = await failuresAfter(
      'iptables-nft -F KUBE-SERVICES && iptables-nft -I FORWARD -s 172.30.0.41 -j DROP',
      'itp-local-does-not-affect-external',
    );
    const seen = 'arrived at 172.30.0.41:80 (outside) from 10.0.0.2 and was not answered';
    expect(lost).toContain(`expected DROP\nseen     ${seen}`);
  });

  it('a rule that lets a packet in whatever the policy is', async () => {
    const found = await failuresAfter(
      'iptables-nft -I INPUT -p tcp --dport 3001 -j ACCEPT',
      'nodeports-iptables-ipv4-localhost-disabled-but-listed',
    );
    expect(found).toMatch(/secondary node IP: [\s\S]*expected none\nseen +ACCEPT/);
  });
});
