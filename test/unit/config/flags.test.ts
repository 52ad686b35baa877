import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { ConfigurationError } from '../../../src/config/error.ts';
import { FIELD_EFFECTS } from '../../../src/config/field-effects.ts';
import { FIELD_FLAGS, OTHER_FLAGS } from '../../../src/config/flags.ts';
import { defaultConfiguration, parseConfiguration } from '../../../src/config/load.ts';
import { addRunOptions, givenFlags } from '../../../src/run-options.ts';

const HEADER = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.0.0.0/8\n';

function given(...argv: string[]) {
  const command = addRunOptions(new Command('run'))
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  command.parse(argv, { from: 'user' });
  return givenFlags(command);
}

function problemsOf(run: () => unknown): string[] {
  try {
    run();
  } catch (error) {
    if (error instanceof ConfigurationError) return error.message.split('\n');
    throw error;
  }
  return [];
}

/** The defaults of kube-proxy's own flags, less what another test looks at. */
const QUIET = ['--cluster-cidr', '10.0.0.0/8'];

describe('the table of flags', () => {
  test('names fields that exist, each flag once', () => {
    const unknown = FIELD_FLAGS.filter(({ field }) => {
      const path = field.split('.').slice(0, 2).join('.');
      return FIELD_EFFECTS[path] === undefined;
    });
    expect(unknown).toEqual([]);
    const names = [...FIELD_FLAGS, ...OTHER_FLAGS].map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(FIELD_FLAGS.map(({ name }) => name)).toEqual(FIELD_FLAGS.map(({ name }) => name).toSorted());
  });

  test('has a help for the flags that do something, and for no other', () => {
    const wrong = FIELD_FLAGS.filter(({ field, help }) => {
      const path = field.split('.').slice(0, 2).join('.');
      return (FIELD_EFFECTS[path]?.takesEffect === 'never') !== (help === '');
    });
    expect(wrong.map(({ name }) => name)).toEqual([]);
  });
});

describe('flags without a file', () => {
  test('set their fields', () => {
    const { configuration, warnings } = defaultConfiguration(
      given(
        '--bind-address=10.0.0.7',
        '--bind-address-hard-fail',
        '--cluster-cidr',
        '10.244.0.0/16,fd00:10::/56',
        '--conntrack-max-per-core=100',
        '--conntrack-min=200',
        '--conntrack-tcp-be-liberal',
        '--conntrack-tcp-timeout-close-wait=1m',
        '--conntrack-tcp-timeout-established=2m',
        '--conntrack-udp-timeout=3s',
        '--conntrack-udp-timeout-stream=4s',
        '--healthz-bind-address=127.0.0.1',
        '--metrics-bind-address=[::1]:9249',
        '--hostname-override=Node-A',
        '--iptables-masquerade-bit=3',
        '--iptables-min-sync-period=250ms',
        '--iptables-sync-period=1m',
        '--masquerade-all=true',
        '--kubeconfig=/etc/kubeconfig',
        '--master=https://10.0.0.1:6443',
        '--nodeport-addresses=192.168.0.0/16',
        '--nodeport-addresses=fd00::/64',
        '--oom-score-adj=-5',
        '--proxy-mode=iptables',
        '-v=4',
      ),
    );
    expect(warnings).toEqual([]);
    expect(configuration).toEqual({
      nodeName: 'node-a',
      kubeconfigPath: '/etc/kubeconfig',
      apiServer: 'https://10.0.0.1:6443',
      endpointsFrom: 'auto',
      mode: 'iptables',
      bindAddress: '10.0.0.7',
      healthz: { address: '127.0.0.1', port: 10_256 },
      metrics: { address: '::1', port: 9249 },
      bindAddressHardFail: true,
      iptables: {
        variant: 'auto',
        masqueradeBit: 3,
        masqueradeAll: true,
        localhostNodePorts: true,
        syncPeriodMs: 60_000,
        minSyncPeriodMs: 250,
      },
      nftables: { masqueradeAll: true, syncPeriodMs: 60_000, minSyncPeriodMs: 250 },
      detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.244.0.0/16', 'fd00:10::/56'] },
      conntrack: {
        maxPerCore: 100,
        min: 200,
        tcpEstablishedTimeoutMs: 120_000,
        tcpCloseWaitTimeoutMs: 60_000,
        tcpBeLiberal: true,
        udpTimeoutMs: 3000,
        udpStreamTimeoutMs: 4000,
      },
      nodePortAddresses: ['192.168.0.0/16', 'fd00::/64'],
      allowedExternalIPs: ['0.0.0.0/0', '::/0'],
      dns: defaultConfiguration().configuration.dns,
      cni: defaultConfiguration().configuration.cni,
      hasServiceMetrics: false,
      oomScoreAdj: -5,
      verbosity: 4,
    });
  });

  test('no flags are the defaults, and what is missing is named as a flag', () => {
    const { warnings } = defaultConfiguration();
    expect(warnings).toEqual([
      '--cluster-cidr is not set: traffic from pods is not told from traffic from outside the cluster',
    ]);
  });

  test.each([
    [['--masquerade-all'], true],
    [['--masquerade-all=false'], false],
    [['--masquerade-all', 'T'], true],
    [['--masquerade-all=0'], false],
    [['--masquerade-all=false', '--masquerade-all'], true],
  ])('%j is %j', (argv, value) => {
    expect(defaultConfiguration(given(...argv)).configuration.iptables.masqueradeAll).toBe(value);
  });

  test.each([['-v', '4'], ['-v4'], ['-v=4'], ['--v=4'], ['--v', '4']])('%j %j is a verbosity', (...argv) => {
    expect(defaultConfiguration(given(...argv)).configuration.verbosity).toBe(4);
  });

  test.each([
    [
      ['--detect-local-mode=BridgeInterface', '--pod-bridge-interface=cni0'],
      { mode: 'BridgeInterface', interfaceName: 'cni0' },
    ],
    [
      ['--detect-local-mode=InterfaceNamePrefix', '--pod-interface-name-prefix=veth'],
      { mode: 'InterfaceNamePrefix', interfaceNamePrefix: 'veth' },
    ],
  ])('%j', (argv, detectLocal) => {
    expect(defaultConfiguration(given(...argv)).configuration.detectLocal).toEqual(detectLocal);
  });

  test('those of later versions are read, checked, and named in a warning', () => {
    const { fields, warnings } = defaultConfiguration(
      given(...QUIET, '--feature-gates=A=true,B=false', '--feature-gates', 'C=true', '--vmodule=proxier=5'),
    );
    expect(fields.kubeProxy).toMatchObject({
      featureGates: { A: true, B: false, C: true },
      logging: { vmodule: [{ filePattern: 'proxier', verbosity: 5 }] },
    });
    expect(warnings).toEqual([
      '--feature-gates is set but not used by this version: there are no feature gates',
      '--vmodule is set but not used by this version: it only tunes klog',
    ]);
  });

  test.each([
    ['--iptables-masquerade-bit=x', '--iptables-masquerade-bit: must be a whole number, is "x"'],
    ['--iptables-sync-period=0s', '--iptables-sync-period: must be greater than 0'],
    [
      '--nodeport-addresses=10.0.0.1',
      '--nodeport-addresses: must be a CIDR such as 10.0.0.0/8, or `primary`, is "10.0.0.1"',
    ],
    ['--feature-gates=A', '--feature-gates: must be a mapping of names to true or false, is "A"'],
    ['--feature-gates=A=yes', '--feature-gates: must be true or false, is "yes"'],
    ['--masquerade-all=yes', '--masquerade-all: must be true or false, is "yes"'],
    ['--proxy-mode=ipvs', '--proxy-mode: ipvs comes in a later version; this one has nftables and iptables'],
    [
      '--detect-local-mode=BridgeInterface',
      '--pod-bridge-interface: must be set when detectLocalMode is BridgeInterface',
    ],
    ['--master=10.0.0.1', '--master: must be a URL such as https://10.0.0.1:6443, is "10.0.0.1"'],
    ['--hostname-override= ', '--hostname-override: must have a name, is empty'],
  ])('%s is wrong', (flag, line) => {
    expect(problemsOf(() => defaultConfiguration(given(flag)))).toEqual([`command line: ${line}`]);
  });

  test('the deprecated ports, and an address that would turn a server off, have a warning', () => {
    const { warnings } = defaultConfiguration(
      given(...QUIET, '--healthz-port=10256', '--metrics-port=0', '--metrics-bind-address='),
    );
    expect(warnings).toEqual([
      '--healthz-port is deprecated and has no effect: use --healthz-bind-address',
      '--metrics-port is deprecated and has no effect: use --metrics-bind-address; the metrics server cannot be turned off',
      '--metrics-bind-address is empty, but the metrics server cannot be turned off: it has its default',
    ]);
  });
});

describe('flags beside a file', () => {
  test('hold when they are about the name of the Node, logs or the API server, and the file says the rest', () => {
    const flags = given(
      '--hostname-override=b',
      '--v=6',
      '--master=http://127.0.0.1:1',
      '--iptables-masquerade-bit=3',
      '--proxy-mode=ipvs',
    );
    const text = `${HEADER}hostnameOverride: a\nlogging: { verbosity: 2 }\niptables: { masqueradeBit: 5 }\n`;
    const { configuration, warnings } = parseConfiguration(text, 'a', flags);
    expect(configuration).toMatchObject({
      nodeName: 'b',
      verbosity: 6,
      apiServer: 'http://127.0.0.1:1',
      iptables: { masqueradeBit: 5 },
    });
    expect(warnings).toEqual([
      'ignored because --config is given, as in kube-proxy: --iptables-masquerade-bit, --proxy-mode',
    ]);
  });

  test('what the file says stays where a flag is not given', () => {
    const { configuration } = parseConfiguration(`${HEADER}hostnameOverride: a\nlogging: { verbosity: 2 }\n`, 'a', {});
    expect(configuration).toMatchObject({ nodeName: 'a', verbosity: 2 });
  });

  test('a wrong one is blamed on the command line, and an ignored one on nobody', () => {
    const flags = given('--v=two', '--iptables-sync-period=0', '--oom-score-adj=5000');
    expect(problemsOf(() => parseConfiguration(`${HEADER}bindAddress: 7\n`, 'a', flags))).toEqual([
      'command line: --v: must be a whole number, is "two"',
    ]);
  });
});
