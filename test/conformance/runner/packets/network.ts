/**
 * A node between two other namespaces: `pods` has every pod and endpoint, `outside` everybody else. Both take any address for their own
 * (a local route to everything) and send all of theirs to the node, even what is for themselves: so a pod that reaches itself, or another
 * pod, does so by way of the node, and a packet that nobody takes care of arrives outside as it was sent.
 */
import { configureLinks, createNamespaces, deleteNamespaces, setSysctls } from '../../../../src/lab/netns.ts';
import { run } from '../../../../src/linux/exec.ts';
import { isLoopback } from '../../../../src/net/ip.ts';
import { outsideInterface, podInterface } from '../node-config.ts';
import type { NodeConfig } from '../packetflow.ts';

/** Prefixes of the links' own addresses, which no case may use. */
export interface LinkPrefixes {
  /** `198.18.` */
  readonly v4: string;
  /** `fd5e:` */
  readonly v6: string;
}

type Side = 'pods' | 'outside';
const SIDES = { pods: 1, outside: 2 } as const;

/** Where locally made packets are looked up first in `pods` and `outside`, and where the node looks for pods. */
const OWN_TABLE = 100;

/** Every address of a family; `ip` knows the family by it. */
const EVERYTHING = ['0.0.0.0/0', '::/0'] as const;

const SYSCTLS = {
  'net.ipv4.ip_forward': 1,
  'net.ipv6.conf.all.forwarding': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  'net.ipv4.conf.default.rp_filter': 0,
  // The node sends packets back where they came from; it shall not tell their senders of a shorter way.
  'net.ipv4.conf.all.send_redirects': 0,
  'net.ipv4.conf.default.send_redirects': 0,
  'net.ipv6.conf.default.accept_ra': 0,
  'net.ipv6.conf.default.accept_dad': 0,
  // Each refusal counts; by default the kernel sends a peer six at once and then one a second.
  'net.ipv4.icmp_ratelimit': 0,
  'net.ipv4.icmp_msgs_per_sec': 100_000,
  'net.ipv4.icmp_msgs_burst': 100_000,
  'net.ipv6.icmp.ratelimit': 0,
  'net.ipv4.ip_nonlocal_bind': 1,
  'net.ipv6.ip_nonlocal_bind': 1,
} as const;

/** How the namespaces of this process's run begin. */
export function namespacePrefix(): string {
  return `kpc-${process.pid}-`;
}

export class Network implements AsyncDisposable {
  readonly #name: string;
  readonly #prefixes: LinkPrefixes;
  #podLink = '';
  #outsideLink = '';
  #nodeIPs: readonly string[] = [];
  #routed: ReadonlySet<string> = new Set();

  private constructor(name: string, prefixes: LinkPrefixes) {
    this.#name = name;
    this.#prefixes = prefixes;
  }

  /** Namespaces without links yet; `name` must be nobody else's. */
  static async create(name: string, prefixes: LinkPrefixes): Promise<Network> {
    const network = new Network(name, prefixes);
    await createNamespaces(network.#namespaces);
    await Promise.all(network.#namespaces.map(netns => setSysctls(netns, SYSCTLS)));
    await Promise.all(
      [network.pods, network.outside].map(async netns => {
        // A packet that comes from an address which is ours too is a pod's that reaches itself.
        await setSysctls(netns, { 'net.ipv4.conf.all.accept_local': 1, 'net.ipv4.conf.default.accept_local': 1 });
        await changeRules(netns, [`add pref 1 iif lo lookup ${OWN_TABLE}`, 'add pref 10 lookup local', 'del pref 0']);
        await configureLinks(
          netns,
          EVERYTHING.map(range => `route add local ${range} dev lo table local`),
        );
      }),
    );
    await changeRules(network.node, [`add pref 20 lookup ${OWN_TABLE}`]);
    return network;
  }

  get node(): string {
    return `${this.#name}-node`;
  }

  get pods(): string {
    return `${this.#name}-pods`;
  }

  get outside(): string {
    return `${this.#name}-out`;
  }

  get #namespaces(): string[] {
    return [this.node, this.pods, this.outside];
  }

  /** Links and addresses as the node of a case has them. What is so already isn't touched. */
  async become(config: NodeConfig, nodeIPs: readonly string[]): Promise<void> {
    const [podLink, outsideLink] = [podInterface(config), outsideInterface(config)];
    if (podLink !== this.#podLink || outsideLink !== this.#outsideLink) {
      await this.#replaceLinks(podLink, outsideLink);
      this.#nodeIPs = [];
      this.#routed = new Set();
    }
    const gone = this.#nodeIPs.filter(ip => !nodeIPs.includes(ip));
    const come = nodeIPs.filter(ip => !this.#nodeIPs.includes(ip));
    await configureLinks(this.node, [
      ...gone.map(ip => `addr del ${hostOf(ip)} dev ${outsideLink}`),
      ...come.map(ip => `addr add ${hostOf(ip)} dev ${outsideLink}${ip.includes(':') ? ' nodad' : ''}`),
    ]);
    this.#nodeIPs = nodeIPs;
  }

  /** These addresses are in `pods`; all others that aren't the node's are outside. */
  async routePods(addresses: ReadonlySet<string>): Promise<void> {
    const route = (verb: 'add' | 'del') => (ip: string) => {
      const gateway = this.#address(ip.includes(':'), 'pods', 2);
      return `route ${verb} ${hostOf(ip)} via ${gateway} dev ${this.#podLink} table ${OWN_TABLE}`;
    };
    const gone = [...this.#routed].filter(ip => !addresses.has(ip));
    const come = [...addresses].filter(ip => !this.#routed.has(ip));
    await configureLinks(this.node, [...gone.map(route('del')), ...come.map(route('add'))]);
    this.#routed = addresses;
  }

  /** Runs `body` while the node has one more address, as that of a load balancer that it knows for its own. */
  async withAddress<T>(ip: string, body: () => Promise<T>): Promise<T> {
    if (isLoopback(ip) || this.#nodeIPs.includes(ip)) return body();
    await configureLinks(this.node, [`addr add ${hostOf(ip)} dev lo${ip.includes(':') ? ' nodad' : ''}`]);
    try {
      return await body();
    } finally {
      await configureLinks(this.node, [`addr del ${hostOf(ip)} dev lo`]);
    }
  }

  /** The node's own address on a link: what masqueraded packets to that side have as their source. */
  nodeAddress(side: Side, isIPv6: boolean): string {
    return this.#address(isIPv6, side, 1);
  }

  /** No rule of anybody, no connection that is known. */
  async forget(): Promise<void> {
    await run('nft', ['flush', 'ruleset'], { netns: this.node });
    await run('conntrack', ['-F'], { netns: this.node });
  }

  /** While `body` runs, the node accepts only what a rule of filter INPUT accepts, and answers. */
  async withClosedInput<T>(isIPv6: boolean, body: () => Promise<T>): Promise<T> {
    const tool = isIPv6 ? 'ip6tables-nft' : 'iptables-nft';
    const established = ['INPUT', '-m', 'conntrack', '--ctstate', 'RELATED,ESTABLISHED', '-j', 'ACCEPT'];
    const iptables = (...args: string[]) => run(tool, ['-w', ...args], { netns: this.node });
    await iptables('-A', ...established);
    await iptables('-P', 'INPUT', 'DROP');
    try {
      return await body();
    } finally {
      await iptables('-P', 'INPUT', 'ACCEPT');
      await iptables('-D', ...established);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await deleteNamespaces(this.#namespaces);
  }

  async #replaceLinks(podLink: string, outsideLink: string): Promise<void> {
    const old = [this.#podLink, this.#outsideLink].filter(name => name !== '');
    if (old.length > 0)
      await configureLinks(
        this.node,
        old.map(name => `link del ${name}`),
      );
    await this.#connect('pods', this.pods, podLink);
    await this.#connect('outside', this.outside, outsideLink);
    const uplink = EVERYTHING.map(range => {
      return `route add ${range} via ${this.#address(range.includes(':'), 'outside', 2)} dev ${outsideLink}`;
    });
    await configureLinks(this.node, uplink);
    this.#podLink = podLink;
    this.#outsideLink = outsideLink;
  }

  /** One link. Both ends know each other's hardware address: `pods` and `outside`, which have every address, would answer for any. */
  async #connect(side: Side, netns: string, name: string): Promise<void> {
    const macs = [`02:00:00:00:0${SIDES[side]}:01`, `02:00:00:00:0${SIDES[side]}:02`];
    const end = (host: 1 | 2, device: string) =>
      [false, true].flatMap(isIPv6 => [
        `addr add ${this.#address(isIPv6, side, host)}/${isIPv6 ? 126 : 30} dev ${device}${isIPv6 ? ' nodad' : ''}`,
        `neigh add ${this.#address(isIPv6, side, host === 1 ? 2 : 1)} lladdr ${macs[2 - host]} dev ${device} nud permanent`,
      ]);
    await configureLinks(this.node, [
      `link add ${name} address ${macs[0]} type veth peer name eth0 address ${macs[1]} netns ${netns}`,
      `link set ${name} up`,
      ...end(1, name),
    ]);
    const gateways = EVERYTHING.map(range => {
      return `route add ${range} via ${this.#address(range.includes(':'), side, 1)} dev eth0 table ${OWN_TABLE}`;
    });
    await configureLinks(netns, ['link set eth0 up', ...end(2, 'eth0'), ...gateways]);
  }

  #address(isIPv6: boolean, side: Side, host: 1 | 2): string {
    return isIPv6 ? `${this.#prefixes.v6}${SIDES[side]}::${host}` : `${this.#prefixes.v4}${SIDES[side]}.${host}`;
  }
}

/** Changes which table is asked when, for both families. */
async function changeRules(netns: string, changes: readonly string[]): Promise<void> {
  const input = changes.map(change => `rule ${change}\n`).join('');
  for (const family of ['-4', '-6']) await run('ip', [family, '-n', netns, '-batch', '-'], { input });
}

function hostOf(ip: string): string {
  return `${ip}/${ip.includes(':') ? 128 : 32}`;
}

/** Prefixes that nothing in `text` uses. */
export function freePrefixes(text: string): LinkPrefixes {
  const first = (candidates: readonly string[]) =>
    candidates.find(prefix => !text.includes(prefix)) ?? candidates[0] ?? '';
  return { v4: first(['198.18.', '198.19.', '192.88.', '100.127.']), v6: first(['fd5e:', 'fd5f:', 'fd6e:', 'fd7f:']) };
}
