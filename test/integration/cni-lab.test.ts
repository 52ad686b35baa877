import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Lease } from '../../src/cni/ipam/lease.ts';
import { projectDir } from '../../src/lab/install.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { podPort, web } from '../../src/lab/layout.ts';
import { createNamespaces, deleteNamespaces } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';

describe('a cluster whose pods get their network from the daemons', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await createLab({ name: 'cni', cni: true, mode: 'nftables' });
  });
  afterAll(() => lab.close());

  const ipam = async (...args: string[]) => (await lab.exec('node-a', ['kproxy-ts', 'ipam', ...args])).stdout;
  const leases = async () => JSON.parse(await ipam('list', '-o', 'json')) as Lease[];
  const first = () => lab.pods.find(({ node }) => node === 'node-a')!;

  test('pods reach pods of both nodes, through Services too, over IPv4 and IPv6', async () => {
    const [from] = lab.pods;
    for (const { ip, ip6 } of lab.pods) {
      expect(await lab.probe(from!.name, { address: ip, port: podPort })).toMatchObject({ failures: [] });
      expect(await lab.probe(from!.name, { address: ip6, port: podPort })).toMatchObject({ failures: [] });
    }
    for (const address of ['10.96.0.80', 'fd00:10:96::80']) {
      const report = await lab.probe(from!.name, { address, port: 80, count: 60 });
      expect(report.failures).toEqual([]);
      // Itself among them, and the one beside it on the bridge.
      expect(new Set(report.replies.map(({ pod }) => pod)).size).toBe(lab.pods.length);
    }
  });

  test('`kproxy-ts ipam` lists them, and does not free what lives', async () => {
    const ready = (await leases()).filter(({ state }) => state === 'ready');
    const own = lab.pods.filter(({ node }) => node === 'node-a').flatMap(({ ip, ip6 }) => [ip, ip6]);
    expect(ready.map(({ address }) => address).sort()).toEqual(own.sort());
    expect(await ipam('list')).toContain(`default/${first().name}`);
    await expect(ipam('free', 'lab', first().ip)).rejects.toMatchObject({ stderr: expect.stringContaining('lives') });
  });

  test('another daemon takes over, after a SIGTERM and a SIGKILL, and knows the pods', async () => {
    for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
      const before = await leases();
      await lab.restartDaemon('node-a', signal);
      await expect.poll(() => leases(), { timeout: 10_000 }).toEqual(before);
      expect(await lab.probe('client', { address: '192.168.77.11', port: 30080, count: 20 })).toMatchObject({
        failures: [],
      });
    }
    const { pod } = await lab.addPod('node-a');
    expect(await lab.probe(first().name, { address: pod.ip, port: podPort })).toMatchObject({ failures: [] });
    await lab.removePod(pod.name);
    const left = (await leases()).filter(({ address }) => address === pod.ip);
    expect(left).toMatchObject([{ state: 'resting' }]);
  });

  test('its counts are among the metrics', async () => {
    const { stdout } = await lab.exec('node-a', ['curl', '-sf', 'http://127.0.0.1:10249/metrics']);
    expect(stdout).toMatch(/^kproxy_cni_attachments 2$/m);
    expect(stdout).toMatch(/^kproxy_cni_requests_total\{command="DEL",code="ok"\} 1$/m);
  });

  test('P10: a hostPort that is a NodePort too is an Event of the pod, and the Service has the packets', async () => {
    const netns = `kpx-cnilab-${process.pid}`;
    await createNamespaces([netns]);
    const call = (verb: string) => {
      const config = {
        ...{ cniVersion: '1.1.0', name: 'lab', type: 'kproxy-cni', ipam: { type: 'kproxy-cni' } },
        runtimeConfig: { portMappings: [{ hostPort: web.nodePort, containerPort: 1, protocol: 'tcp' }] },
        kproxyRuntimeDir: join(lab.directory, 'node-a.run'),
      };
      const env = {
        ...{ CNI_COMMAND: verb, CNI_CONTAINERID: 'p10', CNI_NETNS: `/run/netns/${netns}`, CNI_IFNAME: 'eth0' },
        ...{ CNI_PATH: '/nowhere', CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p10' },
      };
      const program = join(projectDir, 'dist/kproxy-cni');
      return run(program, [], { netns: lab.netns('node-a'), env, input: JSON.stringify(config) });
    };
    await call('ADD');
    const events = async () => {
      const items = await lab.api.list('/apis/events.k8s.io/v1/namespaces/default/events');
      return (items as unknown as { regarding: { kind: string; name: string }; note: string }[])
        .filter(({ regarding }) => regarding.kind === 'Pod' && regarding.name === 'p10')
        .map(({ note }) => note);
    };
    await expect
      .poll(events)
      .toEqual([
        `hostPort ${web.nodePort}/tcp doesn't lead to the pod: Service default/web has it, as node port ${web.nodePort}`,
      ]);
    const report = await lab.probe('client', { address: '192.168.77.11', port: web.nodePort, count: 5 });
    expect(report.failures).toEqual([]);
    await call('DEL');
    await deleteNamespaces([netns]);
  });

  test('switched off in the file it takes no requests, switched on again it does; pods keep their network', async () => {
    const file = lab.configurationFile('node-a');
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, text.replace('cni:\n  enabled: true', 'cni:\n  enabled: false'));
    await expect.poll(() => ipam('list').catch(({ stderr }: { stderr: string }) => stderr)).toContain('wires no pods');
    await expect(lab.addPod('node-a')).rejects.toThrow('"code":11');
    expect(await lab.probe('node-b', { address: first().ip, port: podPort })).toMatchObject({ failures: [] });
    writeFileSync(file, text);
    await expect.poll(async () => (await leases()).length).toBeGreaterThan(0);
  });
});
