/** A node with a bridge and two pods, and a host outside that knows no way to pods: namespaces wired by `ip`, with a program in each. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { PodRules } from '../../src/cni/rules/pod-rules.ts';
import {
  configureLinks,
  connectNamespaces,
  createNamespaces,
  deleteNamespaces,
  setSysctls,
} from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import type { Target } from './cni-rules-ask.ts';

const MAIN = fileURLToPath(new URL('cni-rules-main.ts', import.meta.url));
export const BRIDGE = 'cni0';
export const NETWORKS = ['10.88.0.0/24', 'fd00:88::/64'];
export const NODE = { IPv4: '192.0.2.1', IPv6: 'fd00:2::1' } as const;
export const OUTSIDE = { IPv4: '192.0.2.9', IPv6: 'fd00:2::9' } as const;
export const GATEWAY = { IPv4: '10.88.0.1', IPv6: 'fd00:88::1' } as const;
export const PODS = {
  a: { IPv4: '10.88.0.2', IPv6: 'fd00:88::2' },
  b: { IPv4: '10.88.0.3', IPv6: 'fd00:88::3' },
} as const;
export const PORT = 7000;
export type Member = 'node' | 'a' | 'b' | 'outside';

class Program {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(netns: string, args: readonly string[]) {
    const command = ['netns', 'exec', netns, process.execPath, MAIN, ...args];
    this.#child = spawn('ip', command, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface(this.#child.stdout!)[Symbol.asyncIterator]();
  }

  async next(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done === true) throw new Error('the program has ended');
    return value;
  }

  do(...command: readonly unknown[]): Promise<unknown> {
    const result = this.#turn.then(async () => {
      this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
      const { value, error } = JSON.parse(await this.next());
      if (error !== undefined) throw new Error(error);
      return value;
    });
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}

export class RulesNode implements AsyncDisposable {
  readonly #prefix = `kproxy-cnir-${process.pid}`;
  readonly #programs = new Map<Member, Program>();

  static async create(): Promise<RulesNode> {
    const node = new RulesNode();
    try {
      await node.#begin();
      return node;
    } catch (error) {
      await node[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #begin(): Promise<void> {
    await createNamespaces(['node', 'a', 'b', 'outside'].map(name => this.netns(name as Member)));
    await this.#wire();
    for (const member of ['node', 'a', 'b', 'outside'] as const) {
      const program = new Program(this.netns(member), [member, String(PORT), ...(member === 'node' ? ['9100'] : [])]);
      this.#programs.set(member, program);
    }
    for (const program of this.#programs.values()) await program.next();
  }

  netns(member: Member): string {
    return `${this.#prefix}-${member}`;
  }

  do(...command: readonly unknown[]): Promise<unknown> {
    return this.#programs.get('node')!.do(...command);
  }

  /** `pod clientIP`, or the error's name. */
  ask(from: Member, target: Target): Promise<string> {
    return this.#programs.get(from)!.do('ask', target) as Promise<string>;
  }

  async run(member: Member, ...[file = '', ...args]: readonly string[]): Promise<string> {
    return (await run(file, args, { netns: this.netns(member) })).stdout;
  }

  async links(member: Member, lines: readonly string[]): Promise<void> {
    await configureLinks(this.netns(member), lines);
  }

  /** Entries of the connection table with this text. */
  async tracked(text: string): Promise<string[]> {
    const listings = await Promise.all(
      ['ipv4', 'ipv6'].map(family => this.run('node', 'conntrack', '-L', '-f', family)),
    );
    return listings.flatMap(list => list.split('\n')).filter(line => line.includes(text));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#programs.values()].map(program => program.end()));
    await deleteNamespaces(['node', 'a', 'b', 'outside'].map(name => this.netns(name as Member)));
  }

  async #wire(): Promise<void> {
    const [node, outside] = [this.netns('node'), this.netns('outside')];
    await connectNamespaces(
      { netns: node, name: 'eth0', addresses: [`${NODE.IPv4}/24`, `${NODE.IPv6}/64`] },
      { netns: outside, name: 'eth0', addresses: [`${OUTSIDE.IPv4}/24`, `${OUTSIDE.IPv6}/64`] },
    );
    await configureLinks(node, [
      `link add ${BRIDGE} type bridge forward_delay 0`,
      `addr add ${GATEWAY.IPv4}/24 dev ${BRIDGE}`,
      `addr add ${GATEWAY.IPv6}/64 dev ${BRIDGE} nodad`,
      `link set ${BRIDGE} up`,
    ]);
    for (const [name, { IPv4, IPv6 }] of Object.entries(PODS)) {
      const netns = this.netns(name as Member);
      await connectNamespaces(
        { netns: node, name: `veth-${name}` },
        { netns, name: 'eth0', addresses: [`${IPv4}/24`, `${IPv6}/64`] },
      );
      await configureLinks(node, [
        `link set veth-${name} master ${BRIDGE}`,
        `link set veth-${name} type bridge_slave hairpin on`,
      ]);
      await configureLinks(netns, [`route add default via ${GATEWAY.IPv4}`, `route add default via ${GATEWAY.IPv6}`]);
    }
    await setSysctls(node, { 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
  }
}

export function podRules(name: keyof typeof PODS, fields: Partial<PodRules> = {}): PodRules {
  const { IPv4, IPv6 } = PODS[name];
  return {
    key: `net/${name}/eth0`,
    addresses: [IPv4, IPv6],
    masquerade: true,
    networks: NETWORKS,
    areOfPods: true,
    hostPorts: [],
    bridge: BRIDGE,
    behind: BRIDGE,
    ...fields,
  };
}
