/** A node of a lab as kube-proxy left it, and daemons that take it over. */
import type { StartedDaemon } from '../../src/lab/daemons.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { clusterCIDR, clusterCIDR6, type NodeLayout, nodes } from '../../src/lab/layout.ts';
import type { IPFamily } from '../../src/net/ip.ts';
import { GONE, type KubeProxyNode, servicesOf } from '../fakes/kube-proxy.ts';
import { kubeletRules, kubeProxyIptables } from '../fakes/kube-proxy-iptables.ts';
import { kubeProxyNftables } from '../fakes/kube-proxy-nftables.ts';
import { logLines, readDump } from './daemon-lab.ts';

export type Mode = 'iptables' | 'nftables';
export const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

type Variant = 'nft' | 'legacy';

function toolOf(family: IPFamily, variant: Variant, verb: 'save' | 'restore'): string {
  return `${family === 'IPv4' ? 'iptables' : 'ip6tables'}-${variant}-${verb}`;
}

interface Left {
  /** Default: all. */
  readonly nodePortAddresses?: KubeProxyNode['nodePortAddresses'];
  /** Of iptables. Default nft. */
  readonly variant?: Variant;
}

const KUBELETS = /KUBE-FIREWALL|KUBE-KUBELET-CANARY|KUBE-IPTABLES-HINT/;

export class KubeProxysNode {
  readonly #lab: Lab;
  readonly #node: NodeLayout;
  #started = 0;

  constructor(lab: Lab, node: NodeLayout) {
    this.#lab = lab;
    this.#node = node;
  }

  /** The daemon that was started last. */
  get daemon(): string {
    return `${this.#node.name}-${this.#started}`;
  }

  /** Its log, as `level family message`. */
  get told(): string[] {
    return logLines(this.#lab, this.daemon).map(({ level, family = '', msg }) => `${level} ${family} ${msg}`);
  }

  /** Takes the daemon, and everything of everybody, out of the node. */
  async clean(): Promise<void> {
    if (this.#started > 0) await this.#lab.stopDaemon(this.daemon, 'SIGKILL');
    await this.#lab.exec(this.#node.name, ['nft', 'flush', 'ruleset']);
  }

  /** Programs the Services of the cluster, and one that it doesn't have, as kube-proxy does; and what the kubelet does. */
  async program(layout: Mode, { nodePortAddresses, variant = 'nft' }: Left = {}): Promise<void> {
    await this.clean();
    const lab = this.#lab;
    // The daemon of another node knows the same Services.
    const { families } = await readDump(lab, nodes.find(({ name }) => name !== this.#node.name)!.name);
    for (const { family, services } of families) {
      const all = [...servicesOf(services), GONE[family]];
      const onlyAt = nodePortAddresses?.filter(address => address.includes(':') === (family === 'IPv6'));
      const rules = { family, services: all, clusterCIDR: family === 'IPv4' ? clusterCIDR : clusterCIDR6 };
      const withPorts = onlyAt === undefined ? rules : { ...rules, nodePortAddresses: onlyAt };
      const restore = (input: string) =>
        lab.exec(this.#node.name, [toolOf(family, variant, 'restore'), '--noflush'], { input });
      await restore(kubeletRules(family === 'IPv4'));
      if (layout === 'iptables') await restore(kubeProxyIptables(withPorts));
      else await lab.exec(this.#node.name, ['nft', '-f', '-'], { input: kubeProxyNftables(withPorts) });
    }
  }

  start(mode: Mode | '', args: readonly string[] = ['--take-over']): Promise<StartedDaemon> {
    this.#started += 1;
    const configuration = (text: string) => text.replace(/^mode: .*$/m, `mode: "${mode}"`);
    return this.#lab.startDaemon(this.#node.name, { as: this.daemon, args, configuration });
  }

  /** As iptables prints them, without times and counts. */
  async rules(family: IPFamily, variant: Variant = 'nft'): Promise<string> {
    const { stdout } = await this.#lab.exec(this.#node.name, [toolOf(family, variant, 'save')]);
    return stdout.replaceAll(/^#.*\n/gm, '').replaceAll(/ \[\d+:\d+\]/g, '');
  }

  /** The chains of kube-proxy's iptables mode and ours; not the kubelet's. */
  async chains(family: IPFamily, variant: Variant = 'nft'): Promise<string[]> {
    const names = [...(await this.rules(family, variant)).matchAll(/^:(KUBE-\S+)/gm)].map(([, name = '']) => name);
    return [...new Set(names)].filter(name => !KUBELETS.test(name)).toSorted();
  }

  /** kube-proxy's tables and ours. */
  async tables(): Promise<string[]> {
    const { stdout } = await this.#lab.exec(this.#node.name, ['nft', 'list', 'tables']);
    return [...stdout.matchAll(/^table (ip6? (?:kube-proxy|kproxy-ts))$/gm)].map(([, table = '']) => table).toSorted();
  }

  /** What the kubelet has there. */
  async kubelets(family: IPFamily, variant: Variant = 'nft'): Promise<string[]> {
    return (await this.rules(family, variant)).split('\n').filter(line => KUBELETS.test(line));
  }
}
