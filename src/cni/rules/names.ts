/** What the rules of pod networking are called in the kernel. Pure. */

/** In the families ip, ip6 and bridge. */
export const TABLE = 'kproxy-ts-cni';

export const SETS = {
  /** Addresses of pods whose network is masqueraded. */
  masqueraded: 'masqueraded-pods',
  /** Where they are reached with their own address: networks of pods, and those of the configuration. */
  unmasqueraded: 'unmasqueraded-ranges',
  /** A pod's address and the pod's network: of pods with hostPorts, and of those whose network isn't in `unmasqueraded`. */
  ownNetworks: 'own-networks',
  /** Address, protocol and port of a hostPort (address 0: any of the node's) to the pod's address and port. */
  hostPorts: 'host-ports',
  /** Bridge ports whose frames' source is checked, and what each may send from. */
  macChecked: 'mac-checked',
  macs: 'macs',
  ipChecked: 'ip-checked',
  ips4: 'ipv4-sources',
  ips6: 'ipv6-sources',
} as const;

export const CHAINS = {
  hostPorts: 'to-host-ports',
  prerouting: 'nat-prerouting',
  output: 'nat-output',
  postrouting: 'nat-postrouting',
  input: 'filter-input',
  spoofChecks: 'spoof-checks',
} as const;

/** In iptables' table filter. */
export const FORWARD_CHAIN = 'KPROXY-CNI-FORWARD';

/** In iptables' tables nat and filter, where there is no nf_tables. Together they are as many however many pods there are. */
export const IPTABLES_CHAINS = {
  /** From PREROUTING and OUTPUT: a rule for each hostPort. */
  hostPorts: 'KPROXY-CNI-HOSTPORT',
  /** From POSTROUTING. */
  sources: 'KPROXY-CNI-MASQ',
  /** Of connections that came to a hostPort from where the answer wouldn't come back by itself: a rule for each hostPort. */
  hostPortSources: 'KPROXY-CNI-HOSTMASQ',
  /** Of what pods send: a rule for each address that is masqueraded. */
  podSources: 'KPROXY-CNI-PODMASQ',
  /** From INPUT in filter, for IPv4. */
  localnet: 'KPROXY-CNI-LOCALNET',
} as const;
