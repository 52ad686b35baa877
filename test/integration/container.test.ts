import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectDir } from '../../src/lab/install.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { type NodeLayout, nodes, web } from '../../src/lab/layout.ts';
import { initContainer, keptCapabilities } from '../unit/deploy/manifest.ts';
import { Container } from './container.ts';
import { ask, createService, describeLab, enoughFor, eventually, labName } from './daemon-lab.ts';
import { makeNodeFiles, nodeFilesOf, startGate, type Variant, writeConfiguration, writeToken } from './node-files.ts';

/** Both nodes, each with its variant of iptables. */
const places: readonly (readonly [Variant, NodeLayout])[] = [
  ['nft', nodes[0]],
  ['legacy', nodes[1]],
];

/** A Service for names without endpoints. */
const NAMES = {
  name: 'names',
  clusterIP: '10.96.0.11',
  ports: [
    { name: 'dns', protocol: 'UDP', port: 53 },
    { name: 'dns-tcp', protocol: 'TCP', port: 53 },
  ],
} as const;
const DNS = { enabled: true, service: `default/${NAMES.name}` };

describeLab('the pod of the manifest', () => {
  let lab: Lab;
  let gate: Awaited<ReturnType<typeof startGate>>;
  const containers = new Map<string, Container>();
  let token = 'first-token';

  beforeAll(async () => {
    lab = await createLab({ name: labName('pod'), pods: 2, daemons: false });
    gate = await startGate(lab, token);
    await Promise.all(places.map(([variant, { name }]) => makeNodeFiles(lab, name, { variant, token })));
    await Promise.all(places.map(([, { name }]) => initialise(name)));
    await createService(lab, NAMES, []);
  });
  afterAll(async () => {
    await lab.close();
  });

  /** What the init container does, with root's powers as a privileged one has them. */
  async function initialise(node: string): Promise<void> {
    const { args = [] } = initContainer();
    const config = join(nodeFilesOf(lab, node), 'config/config.yaml');
    const own = args.map(arg => (arg.startsWith('--config=') ? `--config=${config}` : arg));
    await lab.exec(node, [join(projectDir, 'bin/kproxy-ts'), ...own]);
  }

  /** A container that is ready, in place of an earlier one. */
  async function start({ name }: NodeLayout): Promise<Container> {
    const container = await Container.start({ lab, node: name });
    containers.set(name, container);
    await container.awaitReady();
    return container;
  }

  function current({ name }: NodeLayout): Container {
    return containers.get(name) ?? expect.unreachable(`no container on ${name}`);
  }

  /** Resolves to what the command says. */
  async function cleanUp({ name }: NodeLayout): Promise<string> {
    await using cleanup = await Container.start({ lab, node: name, command: ['kproxy-ts', 'cleanup'] });
    expect(await cleanup.ended).toBe('exited with status 0');
    return cleanup.log;
  }

  /** Every pod answers, and nothing else does, on the node itself and through its NodePort, in each family. */
  async function expectService(node: NodeLayout): Promise<void> {
    const wanted = lab.pods.map(({ name }) => name).toSorted();
    const count = enoughFor(wanted.length);
    const ways = [
      { from: node.name, address: web.clusterIP, port: web.port },
      { from: 'client', address: node.address, port: web.nodePort },
      ...(lab.hasIPv6
        ? [
            { from: node.name, address: web.clusterIP6, port: web.port },
            { from: 'client', address: node.address6, port: web.nodePort },
          ]
        : []),
    ];
    await eventually(async () => {
      for (const { from, ...target } of ways) {
        const found = await ask(lab, from, { ...target, count });
        const who = [...new Set(found.map(line => line.replace(/ saw .*/, '')))];
        expect(who, `${target.address} from ${from}`).toEqual(wanted);
      }
    });
  }

  /** The rules of both families without counters, sorted: most of ours match disjoint packets, in any order. */
  async function rules({ name }: NodeLayout, variant: Variant): Promise<string> {
    const tools = ['iptables', 'ip6tables'].map(tool => `${tool}-${variant}-save`);
    const outputs = await Promise.all(tools.map(tool => lab.exec(name, [tool])));
    const lines = outputs.flatMap(({ stdout }) => stdout.split('\n')).filter(line => /^[-:*]/.test(line));
    return lines
      .map(line => line.replace(/ ?\[\d+:\d+\]/, ''))
      .toSorted()
      .join('\n');
  }

  describe.each(places)('with iptables-%s', (variant, node) => {
    test('has the capabilities that the manifest adds and no way to more', async () => {
      const status = await (await start(node)).status();
      const sets = [...status.matchAll(/^Cap(\w+):\t(\w+)$/gm)].map(([, name, bits]) => [name, BigInt(`0x${bits}`)]);
      const bits = new Map([
        ['NET_ADMIN', 12n],
        ['NET_RAW', 13n],
        ['NET_BIND_SERVICE', 10n],
      ]); // linux/capability.h
      const kept = keptCapabilities().reduce(
        (all, name) => all | (1n << (bits.get(name) ?? expect.unreachable(name))),
        0n,
      );
      expect(Object.fromEntries(sets)).toEqual({ Inh: 0n, Prm: kept, Eff: kept, Bnd: kept, Amb: 0n });
      expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    });

    test('cannot write outside its volumes', async () => {
      for (const file of ['/file', '/tmp/file', '/run/file', '/etc/kproxy-ts/file', '/opt/kproxy-ts/dist/file']) {
        await expect(current(node).exec(['touch', file])).rejects.toThrow(/Read-only file system/);
      }
      const write = current(node).exec(['sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward']);
      await expect(write).rejects.toThrow(/Read-only file system/);
    });

    test('programs the node, which serves itself and clients', async () => {
      await expectService(node);
      expect(await rules(node, variant)).toContain('KUBE-SVC-');
      expect(await rules(node, variant === 'nft' ? 'legacy' : 'nft')).not.toContain('KUBE-SVC-');
    });

    test('complains of nothing but of oomScoreAdj, which no kubelet has set here', () => {
      const complaints = current(node).lines.filter(({ level }) => level === 'warn' || level === 'error');
      expect(complaints.map(({ msg }) => msg).filter(msg => !msg.startsWith('oomScoreAdj -997 '))).toEqual([]);
    });

    test('notices that its rules were flushed, and repairs them', async () => {
      const before = await rules(node, variant);
      await writeConfiguration(lab, node.name, { variant, fields: { iptables: { syncPeriod: '1s' } } });
      await eventually(() => expect(current(node).log).toMatch(/iptables\.syncPeriod: .* → /));
      for (const tool of [`iptables-${variant}`, `ip6tables-${variant}`])
        await lab.exec(node.name, [tool, '-w', '-t', 'nat', '-F']);
      await eventually(async () => expect(await rules(node, variant)).toBe(before));
      expect(current(node).log).toMatch(/changed by somebody else: repaired/);
      await expectService(node);
    });

    test('takes up a changed ConfigMap while it runs', async () => {
      await writeConfiguration(lab, node.name, { variant, fields: { iptables: { masqueradeAll: true } } });
      await eventually(() => expect(current(node).log).toMatch(/iptables\.masqueradeAll: false → true/));
      const client = lab.pods.find(pod => pod.node === node.name) ?? expect.unreachable();
      const masqueraded = expect.stringMatching(new RegExp(` saw (${node.gateway}|${node.address})$`));
      await eventually(async () => {
        const found = await ask(lab, client.name, {
          address: web.clusterIP,
          port: web.port,
          count: enoughFor(lab.pods.length),
        });
        expect(found).toEqual(lab.pods.map(() => masqueraded));
      });
    });

    test("goes on with kube-proxy's oomScoreAdj, for which it would need a capability more", async () => {
      await writeConfiguration(lab, node.name, { variant, fields: { oomScoreAdj: -999 } });
      const reason = /oomScoreAdj -999 is not in effect: to lower it, the process needs CAP_SYS_RESOURCE/;
      await eventually(() => expect(current(node).log).toMatch(reason));
      await expectService(node);
    });

    test("answers names at the DNS Service's address once that is enabled", async () => {
      await writeConfiguration(lab, node.name, { variant, dns: DNS });
      await eventually(async () => {
        const options = ['+short', '+tries=1', '+time=1', `@${NAMES.clusterIP}`] as const;
        const { stdout } = await lab.exec(node.name, ['dig', ...options, 'web.default.svc.cluster.local']);
        expect(stdout).toBe(`${web.clusterIP}\n`);
      });
      await writeConfiguration(lab, node.name, { variant });
    });

    test('has started, says the startup probe', async () => {
      expect(await current(node).hasStarted()).toBe(true);
    });

    test('keeps the node while a new pod cannot work, and that one never counts as started', async () => {
      const env = { KUBERNETES_SERVICE_HOST: 'api-server.invalid' };
      await using broken = await Container.start({ lab, node: node.name, env });
      await eventually(() => expect(broken.log).toMatch(/api-server\.invalid/));
      await broken.awaitReady(); // the port's answer, which is the old pod's: here for why the startup probe doesn't ask it
      expect(await broken.hasStarted()).toBe(false);
      expect(await current(node).hasStarted()).toBe(true);
      expect(await broken.stop()).toBe('exited with status 0');
      await expectService(node);
    });

    test('hands the node over to a new pod, and takes it back when that ends', async () => {
      const before = await rules(node, variant);
      await using next = await Container.start({ lab, node: node.name });
      await eventually(async () => expect(await next.hasStarted()).toBe(true));
      await next.awaitReady();
      expect(await current(node).hasStarted()).toBe(false);
      expect(await rules(node, variant)).toBe(before);
      expect(await next.stop()).toBe('exited with status 0');
      await eventually(async () => expect(await current(node).hasStarted()).toBe(true));
      await current(node).awaitReady();
      expect(await rules(node, variant)).toBe(before);
      await lab.addPod(node.name);
      await expectService(node);
    });

    test('leaves the rules when it ends, and takes them up again', async () => {
      const before = await rules(node, variant);
      expect(await current(node).stop()).toBe('exited with status 0');
      expect(await rules(node, variant)).toBe(before);
      const still = await ask(lab, 'client', { address: node.address, port: web.nodePort });
      expect(still).toEqual([expect.stringMatching(/^web-\d saw /)]);
      expect((await start(node)).log).toMatch(/the kernel already had every rule/);
      expect(await rules(node, variant)).toBe(before);
    });
  });

  test('stays within its role: the API server has refused nothing', async () => {
    expect(await readFile(gate.logFile, 'utf8')).toBe('');
  });

  test('follows the cluster with a rotated token, once the old one is refused', async () => {
    token = 'second-token';
    for (const [, { name }] of places) await writeToken(lab, name, token);
    await writeFile(gate.tokenFile, token);
    await lab.dropWatches();
    await lab.addPod(nodes[0].name);
    for (const [, node] of places) await expectService(node);
  });

  describe.each(places)('with iptables-%s', (variant, node) => {
    test('cleans up with the same capabilities', async () => {
      await current(node).stop();
      expect(await cleanUp(node)).toMatch(/^[1-9]\d* chains and rules of kproxy-ts removed\n$/);
      expect(await rules(node, variant)).not.toContain('KUBE-S');
    });

    test('without NET_BIND_SERVICE answers no names at port 53, and does everything else', async () => {
      const capabilities = keptCapabilities().filter(name => name !== 'NET_BIND_SERVICE');
      await writeConfiguration(lab, node.name, { variant, dns: DNS });
      await using container = await Container.start({ lab, node: node.name, capabilities });
      await eventually(() => expect(container.log).toContain(`no names at ${NAMES.clusterIP} port 53: bind EACCES`));
      await expectService(node);
      await container.stop();
      await writeConfiguration(lab, node.name, { variant });
      await cleanUp(node);
    });

    const needed = keptCapabilities().filter(name => name !== 'NET_BIND_SERVICE');
    test.each(needed)('without %s, where it needs it, programs nothing and says why', async name => {
      const capabilities = keptCapabilities().filter(other => other !== name);
      await using container = await Container.start({ lab, node: node.name, capabilities });
      if (name === 'NET_RAW' && variant === 'nft') {
        await container.awaitReady();
        await expectService(node);
        return;
      }
      expect(await container.ended).toBe('exited with status 1');
      const [, ...reasons] = container.log.split('iptables cannot be used on this node; its rules are untouched\n');
      // All that iptables-legacy says of a missing capability, as of a missing module.
      const said = variant === 'nft' ? /^IPv4: .*Permission denied/ : /^IPv4: .*unable to initialize table 'filter'/;
      expect(reasons).toEqual([expect.stringMatching(said)]);
      expect(await rules(node, variant)).not.toContain('KUBE-S');
    });
  });
});
