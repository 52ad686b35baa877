import { copyFileSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { FIELD_EFFECTS, NODE_PATH_PREFIX } from '../../src/config/field-effects.ts';
import { createLab, type Lab } from '../../src/lab/lab.ts';
import { healthzPort, nodes } from '../../src/lab/layout.ts';
import { readState } from '../../src/lab/state.ts';
import { describeLab, eventually, labName, logLines, rulesOf } from './daemon-lab.ts';
import { Stage } from './fault-lab.ts';

const [nodeA] = nodes;

interface Change {
  readonly path: string;
  readonly value: unknown;
  /** More fields that are changed beside it, as it needs them. */
  readonly beside?: Readonly<Record<string, unknown>>;
  /** What shows that it has taken effect. */
  readonly check?: () => unknown;
}

describeLab('a configuration file that changes, under traffic', () => {
  const states = mkdtempSync(join(tmpdir(), 'kproxy-reload-'));
  let lab: Lab;
  let stage: Stage;
  let base: Record<string, unknown>;

  beforeAll(async () => {
    lab = await createLab({ name: labName('fr') });
    stage = await Stage.build(lab);
    base = parse(readFileSync(lab.configurationFile(nodeA.name), 'utf8'));
    copyFileSync(join(lab.directory, 'kubeconfig'), join(lab.directory, 'kubeconfig-2'));
  });
  afterAll(async () => {
    await lab.close();
    rmSync(states, { recursive: true });
  });

  /** The file with some fields changed, put in place as editors do it. */
  function write(fields: Readonly<Record<string, unknown>>): void {
    const documents = [structuredClone(base), { apiVersion: 'kproxy-ts.dev/v1alpha1', kind: 'NodeConfiguration' }];
    for (const [path, value] of Object.entries(fields)) {
      const isOurs = path.startsWith(NODE_PATH_PREFIX);
      setAt(documents[isOurs ? 1 : 0]!, path.slice(isOurs ? NODE_PATH_PREFIX.length : 0).split('.'), value);
    }
    replace(documents.map(document => stringify(document)).join('---\n'));
  }

  function replace(text: string): void {
    const file = lab.configurationFile(nodeA.name);
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  }

  async function status(port: number, path: string): Promise<string> {
    const curl = ['curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', `http://127.0.0.1:${port}${path}`];
    const { stdout } = await lab.exec(nodeA.name, ['sh', '-c', '"$@" || true', 'sh', ...curl]);
    return stdout;
  }

  const hasRule = (text: string | RegExp) => async () => expect(await rulesOf(lab, nodeA.name)).toMatch(text);

  const hasSetting = (name: string, value: number) => async () => {
    const { stdout } = await lab.exec(nodeA.name, ['sysctl', '-n', `net.netfilter.${name}`]);
    expect(stdout.trim()).toBe(String(value));
  };

  /** Of pods' networks, which nobody has here: whether there is somebody to ask, and where it keeps them. */
  function cniChanges(): readonly Change[] {
    const field = (name: string) => `${NODE_PATH_PREFIX}cni.${name}`;
    const directory = (name: string) => join(states, name);
    const beside = { [field('enabled')]: true, [field('stateDirectory')]: directory('cni-1') };
    const isKeptIn = (name: string) => async () => {
      const { stdout } = await lab.exec(nodeA.name, ['kproxy-ts', 'ipam', 'list', '-o', 'json']);
      expect(JSON.parse(stdout)).toEqual([]);
      expect(existsSync(join(directory(name), 'cni.db'))).toBe(true);
    };
    return [
      { path: field('enabled'), value: true, beside, check: isKeptIn('cni-1') },
      { path: field('stateDirectory'), value: directory('cni-2'), beside, check: isKeptIn('cni-2') },
      { path: field('nonMasqueradeCIDRs'), value: ['198.51.100.0/24'], beside, check: isKeptIn('cni-1') },
    ];
  }

  /** Of names: all of them beside a server that answers at a port of its own. */
  function dnsChanges(): readonly Change[] {
    const field = (name: string) => `${NODE_PATH_PREFIX}dns.${name}`;
    const beside = { [field('enabled')]: true, [field('listen')]: ['127.0.0.1:5300'] };
    const answers = (name: string, wanted: string, port = 5300) => ({
      check: async () => {
        const options = ['+short', '+tries=1', '+time=1', '@127.0.0.1', '-p', String(port)];
        expect((await lab.exec(nodeA.name, ['dig', ...options, name])).stdout.trim()).toBe(wanted);
      },
    });
    const [web, address] = ['steady.default.svc.cluster.local', '10.96.7.1'];
    const change = (name: string, value: unknown, more: Partial<Change> = answers(web, address)) => ({
      ...{ path: field(name), value, beside },
      ...more,
    });
    return [
      change('enabled', true),
      change('listen', ['127.0.0.1:5301'], answers(web, address, 5301)),
      change('service', 'kube-system/names'),
      change('workers', 2),
      change('zones', ['k8s.test'], answers('steady.default.svc.k8s.test', address)),
      change('ttl', 30),
      change('pods', 'insecure', answers('10-1-2-3.default.pod.cluster.local', '10.1.2.3')),
      change('namespaces', ['kube-system'], answers(web, '')),
      change('ignoreEmptyServices', true),
      change('endpointPodNames', true),
      change('fallthrough', ['ip6.arpa']),
      change('upstreams', ['127.0.0.1:9']),
      change('resolvConf', '/dev/null'),
      change('maxConcurrent', 10),
      change('cacheBytes', 65_536),
      change('clients', ['127.0.0.0/8']),
      change('queriesPerSecond', 100),
      change('selfIPs', ['192.0.2.53'], answers('ns.dns.cluster.local', '192.0.2.53')),
    ];
  }

  const changes: readonly Change[] = [
    {
      path: 'clientConnection.kubeconfig',
      get value() {
        return join(lab.directory, 'kubeconfig-2');
      },
    },
    { path: 'logging.verbosity', value: 4 },
    {
      path: 'healthzBindAddress',
      value: '0.0.0.0:10266',
      check: async () => {
        expect(await status(10266, '/readyz')).toBe('200');
        expect(await status(healthzPort, '/readyz')).toBe('000');
      },
    },
    {
      path: 'metricsBindAddress',
      value: '127.0.0.1:10259',
      check: async () => expect(await status(10259, '/metrics')).toBe('200'),
    },
    { path: 'bindAddressHardFail', value: true },
    { path: 'iptables.masqueradeBit', value: 15, check: hasRule('--mark 0x8000/0x8000') },
    {
      path: 'iptables.masqueradeAll',
      value: true,
      check: hasRule(/default\/steady:tcp cluster IP"[^\n]* -j KUBE-MARK-MASQ/),
    },
    {
      path: 'iptables.localhostNodePorts',
      value: false,
      check: hasRule(/! -d 127\.0\.0\.0\/8 [^\n]*-j KUBE-NODEPORTS/),
    },
    { path: 'iptables.syncPeriod', value: '7s' },
    { path: 'iptables.minSyncPeriod', value: '200ms' },
    // Of another mode: it must not hurt.
    { path: 'nftables.masqueradeAll', value: true },
    { path: 'nftables.syncPeriod', value: '7s' },
    { path: 'nftables.minSyncPeriod', value: '200ms' },
    { path: 'clusterCIDR', value: '10.128.0.0/9,fd00:10::/32', check: hasRule('! -s 10.128.0.0/9') },
    { path: 'detectLocalMode', value: 'NodeCIDR', check: hasRule(`! -s ${nodeA.podCIDR}`) },
    {
      path: 'detectLocal.bridgeInterface',
      value: 'cni0',
      beside: { detectLocalMode: 'BridgeInterface' },
      check: hasRule('! -i cni0'),
    },
    {
      path: 'detectLocal.interfaceNamePrefix',
      value: 'cni',
      beside: { detectLocalMode: 'InterfaceNamePrefix' },
      check: hasRule(/! -i cni\+/),
    },
    {
      path: 'nodePortAddresses',
      value: ['192.168.77.0/24', 'fd00:77::/64'],
      check: hasRule(/-d 192\.168\.77\.0\/24 [^\n]*-j KUBE-NODEPORTS/),
    },
    {
      path: 'oomScoreAdj',
      value: 300, // anybody may raise it; lowering it again may be refused
      check: async () => {
        const { pid } = readState(lab.name)!.daemons[nodeA.name]!;
        expect(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8').trim()).toBe('300');
      },
    },
    { path: 'conntrack.maxPerCore', value: 30_000 },
    { path: 'conntrack.min', value: 100_000 },
    {
      path: 'conntrack.tcpEstablishedTimeout',
      value: '23h',
      check: hasSetting('nf_conntrack_tcp_timeout_established', 82_800),
    },
    {
      path: 'conntrack.tcpCloseWaitTimeout',
      value: '59m',
      check: hasSetting('nf_conntrack_tcp_timeout_close_wait', 3540),
    },
    {
      path: 'conntrack.tcpBeLiberal',
      value: true,
      check: async () => {
        await hasSetting('nf_conntrack_tcp_be_liberal', 1)();
        expect(await rulesOf(lab, nodeA.name)).not.toContain('--ctstate INVALID');
      },
    },
    { path: 'conntrack.udpTimeout', value: '31s', check: hasSetting('nf_conntrack_udp_timeout', 31) },
    { path: 'conntrack.udpStreamTimeout', value: '121s', check: hasSetting('nf_conntrack_udp_timeout_stream', 121) },
    {
      path: `${NODE_PATH_PREFIX}metrics.perService`,
      value: true,
      check: async () => {
        const { stdout } = await lab.exec(nodeA.name, ['curl', '-s', 'http://127.0.0.1:10249/metrics']);
        expect(stdout).toMatch(/^kproxy_service_connections_total\{.*service="moving".*\} [1-9]/m);
      },
    },
    {
      path: `${NODE_PATH_PREFIX}services.allowedExternalIPs`,
      value: ['192.0.2.0/24'],
      check: () =>
        expect(logLines(lab, nodeA.name).map(({ msg }) => msg)).toContain(
          'external IPs may be of: 0.0.0.0/0, ::/0 → 192.0.2.0/24',
        ),
    },
    { path: `${NODE_PATH_PREFIX}watch.endpoints`, value: 'EndpointSlice' },
    ...dnsChanges(),
    ...cniChanges(),
  ];

  test('every field that takes effect at once is among the changes below', () => {
    const live = Object.entries(FIELD_EFFECTS).filter(([, { takesEffect }]) => takesEffect === 'now');
    expect(changes.map(({ path }) => path).toSorted()).toEqual(live.map(([path]) => path).toSorted());
  });

  test(
    'each change takes effect, is logged, and costs no connection; so does the way back',
    () =>
      stage.withoutLoss(async () => {
        for (const { path, value, beside = {}, check } of changes) {
          const logged = logLines(lab, nodeA.name).length;
          write({ ...beside, [path]: value });
          await eventually(() => {
            const lines = logLines(lab, nodeA.name).slice(logged);
            expect(lines.map(({ msg }) => msg)).toContainEqual(
              expect.stringMatching(`${escapeDots(path)}: .* → .* \\(now\\)`),
            );
          });
          if (check !== undefined) await eventually(check);
          await stage.move();
          await stage.awaitMoved();
        }
        replace(stringify(base));
        await eventually(async () => expect(await status(healthzPort, '/readyz')).toBe('200'));
        await eventually(hasRule('--mark 0x4000/0x4000'));
        await stage.move();
        await stage.awaitMoved();
        await stage.expectMoved();
      }),
    240_000,
  );

  test('a file that is wrong is refused with what is wrong, and everything goes on as before', () =>
    stage.withoutLoss(async () => {
      const logged = logLines(lab, nodeA.name).length;
      replace(stringify({ ...base, clusterCIDR: 'nonsense', healthzBindAddress: '0.0.0.0:10277' }));
      await eventually(() => {
        const lines = logLines(lab, nodeA.name).slice(logged);
        expect(lines.map(({ msg }) => msg).join('\n')).toMatch(/clusterCIDR/);
      });
      await stage.move();
      await stage.awaitMoved();
      expect(await status(healthzPort, '/readyz')).toBe('200');
      expect(await status(10277, '/readyz')).toBe('000');
      replace(stringify(base));
    }));
});

function setAt(object: object, [name = '', ...rest]: readonly string[], value: unknown): void {
  const fields = object as Record<string, unknown>;
  if (rest.length === 0) {
    fields[name] = value;
    return;
  }
  const section = (fields[name] ?? {}) as object;
  fields[name] = section;
  setAt(section, rest, value);
}

function escapeDots(text: string): string {
  return text.replaceAll(/[.[\]]/g, '\\$&');
}
