import type { KernelCallOptions } from '../backends/backend.ts';
import type { NodePortAddresses } from '../backends/node-options.ts';
import type { ProxyMode } from '../config/proxy-modes.ts';
import type { Logger } from '../log.ts';
import type { IPFamily } from '../watch/objects.ts';

/** What kube-proxy left in one family, as far as it differs from node to node. */
export interface KubeProxyRules {
  /** kube-proxy's mode. */
  readonly layout: ProxyMode;
  /** As servicePortKey writes them. */
  readonly services: ReadonlySet<string>;
  /** 'all' but loopback ones, or ranges and addresses as kube-proxy wrote them. */
  readonly nodePortAddresses: NodePortAddresses;
  /** NodePorts on 127.0.0.0/8 too. */
  readonly hasLocalhostNodePorts: boolean;
  /** undefined = not to be told. */
  readonly masqueradeBit?: number | undefined;
}

/** How what kube-proxy leaves in one of its modes is found, read, and removed. */
export interface KubeProxyTraces {
  /** Whether they are objects of our mode of that name too, so that who removes those removes these. */
  readonly areShared: boolean;
  /** The families with rules that kube-proxy programmed last, and nobody has adopted. Changes nothing. */
  find(): Promise<readonly IPFamily[]>;
  /** What it left in a family; undefined = nothing. Rejects when it can't be read. */
  read(family: IPFamily): Promise<KubeProxyRules | undefined>;
  /** Takes away what is kube-proxy's alone, which our own mode of that name doesn't know. Rejects when it can't be. */
  remove(family: IPFamily, options: { readonly log: Logger } & KernelCallOptions): Promise<void>;
}
