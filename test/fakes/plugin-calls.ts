/** Calls the plugin as a runtime does, on a machine in memory. */
import { run } from '../../src/cni/plugin/run.ts';
import type { CniResult } from '../../src/cni/types.ts';
import { type Execution, FakePluginHost } from './plugin-host.ts';

export interface Wishes {
  /** Fields of the configuration instead of K0's; undefined = without. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** The standard input, instead of a configuration. */
  readonly stdin?: FakePluginHost['stdin'];
  /** Variables instead of the usual ones; undefined = unset. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly prepare?: (host: FakePluginHost) => void;
}

export interface Outcome {
  readonly host: FakePluginHost;
  readonly status: number;
  /** The only document on the standard output; undefined = nothing was printed. */
  readonly printed: Readonly<Record<string, unknown>> | undefined;
}

/** The configuration K0 of the cases. */
export const K0 = {
  cniVersion: '1.1.0',
  name: 'kp',
  type: 'kproxy-cni',
  bridge: 'cni0',
  isDefaultGateway: true,
  ipMasq: true,
  ipam: { type: 'host-local', ranges: [[{ subnet: '10.88.0.0/24' }]] },
};

export const RESULT = {
  interfaces: [
    { name: 'cni0', mac: '02:00:00:00:00:01', mtu: 1500 },
    { name: 'veth1', mac: '02:00:00:00:00:02', mtu: 1500 },
    { name: 'eth0', mac: '02:00:00:00:00:03', mtu: 1500, sandbox: '/run/netns/p1' },
  ],
  ips: [{ address: '10.88.0.2/24', gateway: '10.88.0.1', interface: 2 }],
  routes: [{ dst: '0.0.0.0/0', gw: '10.88.0.1', priority: 7 }],
} satisfies CniResult;

const ATTACHMENT_VARIABLES = { CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/p1', CNI_IFNAME: 'eth0' };

export function call(command: string | undefined, wishes: Wishes = {}): Outcome {
  const host = new FakePluginHost();
  const isOfPod = command !== 'GC' && command !== 'STATUS' && command !== 'VERSION';
  const variables: Readonly<Record<string, string | undefined>> = {
    CNI_COMMAND: command,
    CNI_PATH: '/opt/other:/opt/cni/bin',
    ...(isOfPod ? ATTACHMENT_VARIABLES : {}),
    ...wishes.env,
  };
  const set = Object.entries(variables).filter((entry): entry is [string, string] => entry[1] !== undefined);
  host.environment = Object.fromEntries(set);
  host.stdin = wishes.stdin ?? JSON.stringify({ ...K0, ...wishes.config });
  host.agent = ({ command: verb }) => (verb === 'ADD' ? { result: RESULT } : {});
  wishes.prepare?.(host);
  const status = run(host);
  return { host, status, printed: host.stdout === '' ? undefined : JSON.parse(host.stdout) };
}

/** A machine that differs in these. */
export const machine = (fields: Partial<FakePluginHost>) => (host: FakePluginHost) => void Object.assign(host, fields);

type Answer = NonNullable<ReturnType<FakePluginHost['programs']['get']>>;

/** An IPAM plugin of this name in CNI_PATH that answers so; without an answer, with an address. */
export function withProgram(type: string, answer?: Answer) {
  const usual = ({ command }: Execution) => ({
    status: 0,
    stdout: command === 'ADD' ? '{"cniVersion":"1.1.0","ips":[{"address":"10.9.0.2/24"}]}' : '',
  });
  return (host: FakePluginHost) => void host.programs.set(`/opt/cni/bin/${type}`, answer ?? usual);
}
