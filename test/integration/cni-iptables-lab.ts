/** A node whose agent keeps rules in iptables, with two pods that answer at port 80, the outside, and the node itself at port 81. */
import { expect } from 'vitest';
import { type Answer, CniNode, DUAL, outside } from './cni-node.ts';
import { Echo } from './cni-packets.ts';
import { savedRules } from './cni-saved-rules.ts';

export const FAR = ['192.0.2.9', '2001:db8::9'] as const;
export const NODE = ['192.0.2.1', '2001:db8::1'] as const;
export const TOOLS = ['iptables-legacy', 'ip6tables-legacy'] as const;
/** The agent looks every 2 s. */
export const REPAIR = { timeout: 30_000, interval: 100 };
export const tcp = { hostPort: 8080, containerPort: 80, protocol: 'tcp' };
export const mappings = (...list: readonly object[]) => ({ runtimeConfig: { portMappings: list } });

export class IptablesLab implements AsyncDisposable {
  readonly node: CniNode;
  readonly far: string;
  /** Paths of namespaces. */
  readonly pods: readonly string[];
  readonly #echoes: Echo[] = [];

  private constructor(node: CniNode, far: string, pods: readonly string[]) {
    this.node = node;
    this.far = far;
    this.pods = pods;
  }

  static async start(name: string): Promise<IptablesLab> {
    const node = await CniNode.start(name, DUAL, { rules: 'iptables' });
    const far = await outside(node);
    const lab = new IptablesLab(node, far, await Promise.all(['one', 'two'].map(pod => node.pod(pod))));
    const echoes = [Echo.start(far, 'outside'), Echo.start(node.netns, 'node', 81)];
    const ofPods = lab.pods.map((pod, index) => Echo.start(node.nameOf(pod), `pod${index}`));
    lab.#echoes.push(...(await Promise.all([...echoes, ...ofPods])));
    return lab;
  }

  /** `c0`, `c1`. */
  async add(index: number, config: object = {}): Promise<Answer & { readonly ips: readonly string[] }> {
    const answer = await this.node.add(this.pods[index]!, { id: `c${index}`, config });
    const ips = answer.status === 0 ? answer.result.ips!.map(({ address }) => address.replace(/\/.*/, '')) : [];
    return Object.assign(answer, { ips });
  }

  inside(index: number): string {
    return this.node.nameOf(this.pods[index]!);
  }

  /** Lines of iptables with chains of ours. */
  async own(): Promise<readonly string[]> {
    return (await savedRules(this.node)).filter(line => line.includes('KPROXY-CNI-'));
  }

  /** After a test: both pods are gone, and nothing is left of them. */
  async expectNothingLeft(): Promise<void> {
    for (const [index, pod] of this.pods.entries()) await this.node.del(pod, { id: `c${index}` });
    expect(await this.node.residue()).toEqual([]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const echo of this.#echoes) await echo[Symbol.asyncDispose]();
    await this.node[Symbol.asyncDispose]();
  }
}
