import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ConfigurationError } from '../../../src/config/error.ts';
import { defaultConfiguration, loadConfiguration, parseConfiguration } from '../../../src/config/load.ts';

const HEADER =
  'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.244.0.0/16\n';
const NODE_HEADER = 'apiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\n';

function parse(fields: string) {
  return parseConfiguration(HEADER + fields, 'kube-proxy.yaml');
}

function errorOf(text: string): ConfigurationError {
  try {
    parseConfiguration(text, 'kube-proxy.yaml');
  } catch (error) {
    if (error instanceof ConfigurationError) return error;
    throw error;
  }
  throw new Error('the configuration was accepted');
}

/** What `kubeadm init` of Kubernetes 1.36 writes into the kube-proxy ConfigMap: everything, most of it as zero values. */
const KUBEADM = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
windowsRunAsService: false
`;

describe('a file written for kube-proxy', () => {
  test("kubeadm's file gives the defaults without a warning", () => {
    expect(parseConfiguration(KUBEADM, 'config.conf')).toMatchObject({
      configuration: {
        kubeconfigPath: '/var/lib/kube-proxy/kubeconfig.conf',
        endpointsFrom: 'auto',
        mode: '',
        bindAddress: '0.0.0.0',
        healthz: { address: '0.0.0.0', port: 10_256 },
        metrics: { address: '127.0.0.1', port: 10_249 },
        bindAddressHardFail: false,
        iptables: {
          variant: 'auto',
          masqueradeBit: 14,
          masqueradeAll: false,
          syncPeriodMs: 30_000,
          minSyncPeriodMs: 0,
        },
        detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16'] },
        conntrack: {
          maxPerCore: 32_768,
          min: 131_072,
          tcpEstablishedTimeoutMs: 86_400_000,
          tcpCloseWaitTimeoutMs: 3_600_000,
          tcpBeLiberal: false,
          udpTimeoutMs: 0,
          udpStreamTimeoutMs: 0,
        },
        nodePortAddresses: [],
        oomScoreAdj: -999,
        verbosity: 0,
      },
      warnings: [],
    });
  });

  test('a file with nothing but its kind has the same defaults', () => {
    const { kubeconfigPath, ...rest } = parseConfiguration(KUBEADM, 'a').configuration;
    expect(kubeconfigPath).toBeDefined();
    expect(parse('').configuration).toEqual(rest);
  });

  test('what this version uses is taken over', () => {
    const { configuration, warnings } = parse(`
hostnameOverride: " Node-A "
clientConnection: { kubeconfig: /etc/kubeconfig }
mode: iptables
nftables: { masqueradeAll: true, syncPeriod: 45s }
conntrack: { maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 90s, tcpBeLiberal: true, udpTimeout: 20s, udpStreamTimeout: 2m }
bindAddress: "::"
bindAddressHardFail: true
metricsBindAddress: 0.0.0.0:9249
iptables: { masqueradeBit: 15, masqueradeAll: true, localhostNodePorts: false, syncPeriod: 1m, minSyncPeriod: 250ms }
detectLocalMode: BridgeInterface
detectLocal: { bridgeInterface: cni0 }
nodePortAddresses: [192.168.1.7/24, "fd00::1/64"]
---
apiVersion: kproxy-ts.dev/v1alpha1
kind: NodeConfiguration
iptables: { variant: legacy }
watch: { endpoints: Endpoints }
services: { allowedExternalIPs: [192.0.2.7/24] }
`);
    expect(warnings).toEqual([]);
    expect(configuration).toEqual({
      nodeName: 'node-a',
      kubeconfigPath: '/etc/kubeconfig',
      endpointsFrom: 'Endpoints',
      mode: 'iptables',
      bindAddress: '::',
      healthz: { address: '::', port: 10_256 },
      metrics: { address: '0.0.0.0', port: 9249 },
      bindAddressHardFail: true,
      iptables: {
        variant: 'legacy',
        masqueradeBit: 15,
        masqueradeAll: true,
        localhostNodePorts: false,
        syncPeriodMs: 60_000,
        minSyncPeriodMs: 250,
      },
      nftables: { masqueradeAll: true, syncPeriodMs: 45_000, minSyncPeriodMs: 0 },
      detectLocal: { mode: 'BridgeInterface', interfaceName: 'cni0' },
      conntrack: {
        maxPerCore: 0,
        min: 131_072,
        tcpEstablishedTimeoutMs: 0,
        tcpCloseWaitTimeoutMs: 90_000,
        tcpBeLiberal: true,
        udpTimeoutMs: 20_000,
        udpStreamTimeoutMs: 120_000,
      },
      nodePortAddresses: ['192.168.1.0/24', 'fd00::/64'],
      allowedExternalIPs: ['192.0.2.0/24'],
      dns: defaultConfiguration().configuration.dns,
      cni: defaultConfiguration().configuration.cni,
      hasServiceMetrics: false,
      oomScoreAdj: -999,
      verbosity: 0,
    });
  });

  test.each([
    ['detectLocalMode: NodeCIDR', { mode: 'NodeCIDR' }],
    [
      'detectLocalMode: InterfaceNamePrefix\ndetectLocal: { interfaceNamePrefix: veth }',
      { mode: 'InterfaceNamePrefix', interfaceNamePrefix: 'veth' },
    ],
  ])('%j detects local traffic so', (fields, detectLocal) => {
    expect(parse(fields).configuration.detectLocal).toEqual(detectLocal);
  });

  test('clusterCIDR takes one CIDR of each family', () => {
    const text = HEADER.replace('10.244.0.0/16', '10.244.0.0/16,fd00:10::/56');
    const { detectLocal } = parseConfiguration(text, 'a').configuration;
    expect(detectLocal).toEqual({ mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd00:10::/56'] });
  });

  test('without a clusterCIDR it says what that means', () => {
    const { warnings } = parseConfiguration(HEADER.replace(/clusterCIDR.*\n/, ''), 'a');
    expect(warnings).toEqual([
      'clusterCIDR is not set: traffic from pods is not told from traffic from outside the cluster',
    ]);
  });

  test('nodePortAddresses may be the one word primary', () => {
    expect(parse('nodePortAddresses: [primary]').configuration.nodePortAddresses).toBe('primary');
  });

  test.each([
    ['127.0.0.1:1234', { address: '127.0.0.1', port: 1234 }],
    ['127.0.0.1', { address: '127.0.0.1', port: 10_256 }],
    ['"::1"', { address: '::1', port: 10_256 }],
    ['"[::1]:1234"', { address: '::1', port: 1234 }],
  ])('healthzBindAddress: %s is %j', (text, address) => {
    expect(parse(`healthzBindAddress: ${text}`).configuration.healthz).toEqual(address);
  });
});

describe('warnings', () => {
  test('name each field that is set but does nothing here', () => {
    const { warnings } = parse(`
ipvs: { strictARP: true, scheduler: lc }
conntrack: { maxPerCore: 0 }
oomScoreAdj: -500
featureGates: { SomeGate: true }
logging: { verbosity: 4, vmodule: [{ filePattern: a, verbosity: 9 }] }
iptables: { localhostNodePorts: false }
`);
    expect(warnings.toSorted()).toEqual(
      [
        'featureGates is set but not used by this version: there are no feature gates',
        'ipvs.scheduler is set but not used by this version: it comes with the IPVS mode',
        'ipvs.strictARP is set but not used by this version: it comes with the IPVS mode',
        'logging.vmodule is set but not used by this version: it only tunes klog',
      ].toSorted(),
    );
  });

  test('are not there for values that say what is so anyway', () => {
    expect(parse('logging: { format: json }\niptables: { localhostNodePorts: false }\n').warnings).toEqual([]);
  });

  test('name a key that stands twice, whose last value counts, as in the lenient decoder of kube-proxy', () => {
    const { warnings, configuration } = parse(
      'iptables:\n  masqueradeBit: 1\n  masqueradeBit: 2\nclusterCIDR: 10.9.0.0/16\n',
    );
    expect(warnings).toEqual([
      'line 6: masqueradeBit stands twice in its mapping; the last one counts',
      'line 7: clusterCIDR stands twice in its mapping; the last one counts',
    ]);
    expect(configuration).toMatchObject({ iptables: { masqueradeBit: 2 }, detectLocal: { cidrs: ['10.9.0.0/16'] } });
  });

  test.each([
    [
      'clusterCIDR: fd00::/56',
      ['clusterCIDR has no IPv4 range: IPv4 traffic from pods is not told from traffic from outside the cluster'],
    ],
    ['clusterCIDR: fd00::/56\nbindAddress: "::"', []],
    [
      'clusterCIDR: 10.0.0.0/8,fd00::/56\nnodePortAddresses: [192.168.0.0/16]',
      ['nodePortAddresses has no IPv6 range: NodePorts are open on every local IPv6 address'],
    ],
    [
      'clusterCIDR: 10.0.0.0/8\nnodePortAddresses: [192.168.0.0/16, "fd00::/64"]',
      ['clusterCIDR has no IPv6 range: IPv6 traffic from pods is not told from traffic from outside the cluster'],
    ],
    [
      'clusterCIDR: 10.0.0.0/8\nnodePortAddresses: ["fd00::/64"]',
      ['nodePortAddresses has no IPv4 range: NodePorts are open on every local IPv4 address'],
    ],
    ['clusterCIDR: 10.0.0.0/8\nnodePortAddresses: [primary]', []],
    ['clusterCIDR: 10.0.0.0/8\nnodePortAddresses: [192.168.0.0/16]', []],
  ])('name an IP family that is forgotten: %j', (fields, warnings) => {
    expect(parseConfiguration(HEADER.replace(/clusterCIDR.*\n/, '') + fields, 'a').warnings).toEqual(warnings);
  });

  test('name unknown fields and go on', () => {
    const { warnings, configuration } = parse('iptables: { masqBit: 3 }\nfoo: { bar: 1 }\nconstructor: 1\n');
    expect(warnings).toEqual([
      'unknown field iptables.masqBit, ignored',
      'unknown field foo, ignored',
      'unknown field constructor, ignored',
    ]);
    expect(configuration.iptables.masqueradeBit).toBe(14);
  });

  test('name what of our own document is unknown or for a later version', () => {
    const { warnings } = parse(`---\n${NODE_HEADER}routes: {}\nfoo: 1\niptables: { variants: nft }\n`);
    expect(warnings).toEqual([
      'NodeConfiguration routes comes in a later version; not used by this one',
      'unknown field NodeConfiguration foo, ignored',
      'unknown field NodeConfiguration iptables.variants, ignored',
    ]);
  });
});

describe('our own document', () => {
  test("stands alone, with kube-proxy's defaults", () => {
    const { configuration } = parseConfiguration(`${NODE_HEADER}iptables: { variant: nft }\n`, 'a');
    expect(configuration).toMatchObject({ iptables: { variant: 'nft', masqueradeBit: 14 }, endpointsFrom: 'auto' });
  });

  test('may come first', () => {
    const { configuration } = parseConfiguration(`${NODE_HEADER}---\n${HEADER}bindAddress: 10.0.0.1\n`, 'a');
    expect(configuration.bindAddress).toBe('10.0.0.1');
  });

  test('has its kind in front of a wrong field, and is checked together with the other', () => {
    const text = `${HEADER}iptables: { masqueradeBit: 40 }\n---\n${NODE_HEADER}iptables: { variant: nf }\nwatch: 7\n`;
    expect(errorOf(text).message.split('\n')).toEqual([
      'kube-proxy.yaml: iptables.masqueradeBit: must be between 0 and 31, is 40',
      'kube-proxy.yaml: NodeConfiguration iptables.variant: must be one of auto, nft, legacy, is "nf"',
      'kube-proxy.yaml: NodeConfiguration watch: must be a mapping, is 7',
    ]);
  });
});

describe('errors', () => {
  test.each([
    ['iptables: { masqueradeBit: 40 }', 'iptables.masqueradeBit: must be between 0 and 31, is 40'],
    ['iptables: { masqueradeBit: 1.5 }', 'iptables.masqueradeBit: must be a whole number, is 1.5'],
    ['iptables: { masqueradeBit: "14" }', 'iptables.masqueradeBit: must be a whole number, is "14"'],
    ['iptables: { masqueradeAll: "yes" }', 'iptables.masqueradeAll: must be true or false, is "yes"'],
    ['iptables: 7', 'iptables: must be a mapping, is 7'],
    [
      'iptables: { syncPeriod: 30 }',
      'iptables.syncPeriod: must be a duration such as 30s or 1m30s, and not negative, is 30',
    ],
    [
      'iptables: { syncPeriod: -1s }',
      'iptables.syncPeriod: must be a duration such as 30s or 1m30s, and not negative, is "-1s"',
    ],
    ['iptables: { minSyncPeriod: 31s }', 'iptables.minSyncPeriod: must not be longer than iptables.syncPeriod'],
    ['bindAddress: localhost', 'bindAddress: must be an IP address, is "localhost"'],
    [
      'healthzBindAddress: 0.0.0.0:0',
      'healthzBindAddress: must be IP:port, with a port between 1 and 65535, is "0.0.0.0:0"',
    ],
    [
      'healthzBindAddress: host:80',
      'healthzBindAddress: must be IP:port, with a port between 1 and 65535, is "host:80"',
    ],
    [
      'nodePortAddresses: [10.0.0.1]',
      'nodePortAddresses[0]: must be a CIDR such as 10.0.0.0/8, or `primary`, is "10.0.0.1"',
    ],
    [
      'nodePortAddresses: [primary, 10.0.0.0/8]',
      'nodePortAddresses: must not mix `primary` with CIDRs, is ["primary","10.0.0.0/8"]',
    ],
    ['nodePortAddresses: 10.0.0.0/8', 'nodePortAddresses: must be a list of CIDRs, or [primary], is "10.0.0.0/8"'],
    ['mode: ipvs', 'mode: ipvs comes in a later version; this one has nftables and iptables'],
    ['mode: userspace', 'mode: userspace comes in a later version; this one has nftables and iptables'],
    ['mode: ebpf', 'mode: must be one of iptables, nftables, ipvs, userspace, is "ebpf"'],
    [
      'detectLocalMode: BridgeInterface',
      'detectLocal.bridgeInterface: must be set when detectLocalMode is BridgeInterface',
    ],
    [
      'detectLocalMode: InterfaceNamePrefix',
      'detectLocal.interfaceNamePrefix: must be set when detectLocalMode is InterfaceNamePrefix',
    ],
    [
      'detectLocal: { bridgeInterface: a-name-that-is-long }',
      'detectLocal.bridgeInterface: must be an interface name of at most 15 characters, is "a-name-that-is-long"',
    ],
    ['oomScoreAdj: 2000', 'oomScoreAdj: must be between -1000 and 1000, is 2000'],
    ['featureGates: { A: 1 }', 'featureGates.A: must be true or false, is 1'],
    ['conntrack: { min: -1 }', 'conntrack.min: must be at least 0, is -1'],
    ['ipvs: { excludeCIDRs: [x] }', 'ipvs.excludeCIDRs[0]: must be a CIDR such as 10.0.0.0/8 or fd00::/8, is "x"'],
  ])('%s', (fields, line) => {
    expect(errorOf(HEADER + fields).message).toBe(`kube-proxy.yaml: ${line}`);
  });

  test.each(['10.0.0.0/8,10.1.0.0/16', '10.0.0.0/8,fd00::/8,fd01::/16', 'x', '10.0.0.0/8,'])(
    'clusterCIDR: %s',
    cidr => {
      const { problems } = errorOf(HEADER.replace('10.244.0.0/16', cidr));
      expect(problems).toEqual([
        {
          path: 'clusterCIDR',
          message: `must be a CIDR, or an IPv4 and an IPv6 one with a comma between, is "${cidr}"`,
        },
      ]);
    },
  );

  test('all wrong values are named at once', () => {
    const error = errorOf(`${HEADER}iptables: { masqueradeBit: 40, masqueradeAll: 1 }\nbindAddress: 7\nmode: ipvs\n`);
    expect(error.message.split('\n')).toHaveLength(4);
    expect(error.problems.map(({ path }) => path).toSorted()).toEqual([
      'bindAddress',
      'iptables.masqueradeAll',
      'iptables.masqueradeBit',
      'mode',
    ]);
  });

  test('a syntax error has its line', () => {
    const error = errorOf(`${HEADER}iptables: { masqueradeBit: 14\nmode: [`);
    expect(error.message).toMatch(/^kube-proxy\.yaml: line \d+, column \d+: /);
    expect(error.message).not.toMatch(/\^/);
  });

  test('an alias without its anchor is an error, not a crash', () => {
    expect(errorOf(`${HEADER}mode: *nowhere\n`).problems).toHaveLength(1);
  });

  test.each([
    ['kind: Pod\napiVersion: v1', 'document 1: must be'],
    [`${HEADER}---\nkind: KubeProxyConfiguration\napiVersion: kubeproxy.config.k8s.io/v1\n`, 'document 2: must be'],
    [`${HEADER}---\n${HEADER}`, 'document 2: is a second KubeProxyConfiguration; one is allowed'],
    ['- a', 'document 1: must be a mapping of fields'],
    ['', 'holds no KubeProxyConfiguration'],
    [
      'mode: iptables',
      'must be kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration or kproxy-ts.dev/v1alpha1 NodeConfiguration, is (none) (none)',
    ],
  ])('%j', (text, part) => {
    expect(errorOf(text).message).toContain(part);
  });

  test('wrong documents and wrong values are named together', () => {
    const text = `${HEADER}bindAddress: 7\n---\n${HEADER}---\nkind: Pod\n---\n${NODE_HEADER}watch: 1\n`;
    expect(errorOf(text).problems.map(({ path }) => path)).toEqual([
      'document 2',
      'document 3',
      'bindAddress',
      'NodeConfiguration watch',
    ]);
  });

  test('a byte order mark and Windows line ends do not matter', () => {
    const text = `\uFEFF${HEADER}iptables: { masqueradeBit: 3 }\n`.replaceAll('\n', '\r\n');
    expect(parseConfiguration(text, 'a')).toMatchObject({
      configuration: { iptables: { masqueradeBit: 3 } },
      warnings: [],
    });
  });

  test("scalars are YAML 1.1's, as in kube-proxy's decoder", () => {
    const fields =
      'iptables: { masqueradeBit: 010, masqueradeAll: yes }\nbindAddressHardFail: On\noomScoreAdj: -0x10\n';
    const { configuration } = parse(`${fields}bindAddress: ::1\nfeatureGates: { A: off }\n`);
    expect(configuration).toMatchObject({ iptables: { masqueradeBit: 8, masqueradeAll: true }, oomScoreAdj: -16 });
    expect(errorOf(`${HEADER}hostnameOverride: 10:30\nbindAddress: 2001-01-01\n`).problems).toEqual([
      expect.objectContaining({ path: 'bindAddress', message: expect.stringContaining('2001-01-01') }),
    ]);
  });

  test('empty documents are left out', () => {
    expect(parseConfiguration(`---\n---\n${HEADER}---\n# nothing\n`, 'a').warnings).toEqual([]);
  });
});

describe('loadConfiguration', () => {
  test('reads the file', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'kproxy-config-'));
    const path = join(directory, 'config.yaml');
    await writeFile(path, HEADER);
    expect((await loadConfiguration(path)).configuration.mode).toBe('');
    await rm(directory, { recursive: true });
  });

  test('says which file is missing', async () => {
    await expect(loadConfiguration('/nonexistent/config.yaml')).rejects.toThrow(
      '/nonexistent/config.yaml: cannot be read: no such file',
    );
  });

  test('says when the file is a directory', async () => {
    await expect(loadConfiguration('/')).rejects.toThrow('/: cannot be read: is a directory');
  });
});
