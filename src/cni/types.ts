/** What the parts of pod networking tell each other. Pure: the plugin, the agent and the command line share it. */

/** One interface of one pod in one network: what the runtime calls an attachment. */
export interface AttachmentId {
  /** `name` of the network configuration. */
  readonly network: string;
  readonly containerID: string;
  readonly ifname: string;
}

export const attachmentKey = ({ network, containerID, ifname }: AttachmentId) => `${network}/${containerID}/${ifname}`;

/** As the runtime names the pod; empty where it doesn't. */
export interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** A result as CNI 1.1.0 has it; other versions are made of it when it is printed. */
export interface CniResult {
  readonly cniVersion?: string;
  readonly interfaces?: readonly CniInterface[];
  readonly ips?: readonly CniIP[];
  readonly routes?: readonly CniRoute[];
  readonly dns?: CniDns;
}

export interface CniInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}

export interface CniIP {
  /** With prefix length: `10.88.0.2/24`. */
  readonly address: string;
  readonly gateway?: string;
  /** Index into `interfaces`. */
  readonly interface?: number;
}

export interface CniRoute {
  readonly dst: string;
  readonly gw?: string;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
}

export interface CniDns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** Codes of the specification (1-99), and ours. */
export const CODE = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  badEnvironment: 4,
  io: 5,
  undecodable: 6,
  badConfiguration: 7,
  netnsIsHosts: 8,
  tryAgain: 11,
  unavailable: 50,
  impaired: 51,
  noAddress: 100,
  addressTaken: 101,
  portTaken: 102,
  kernel: 103,
  storage: 104,
  bridgeConflict: 105,
  exists: 106,
} as const;

/** A request can't be served; becomes the error that the plugin prints. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly code: number;
  readonly details: string;

  constructor(code: number, message: string, details = '') {
    super(message);
    this.code = code;
    this.details = details;
  }
}

/**
 * Of requests and replies, both of which say it: raised when an older plugin or agent would misread one. Neither takes anything from the other
 * then but that it is so (error 11).
 */
export const AGENT_PROTOCOL = 1;

/** What the plugin sends: one line of JSON over the agent's socket, answered by one line. */
export interface AgentRequest {
  readonly protocol: typeof AGENT_PROTOCOL;
  readonly command: 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS';
  /** Empty for GC and STATUS. `netns` is a path that the agent can open (/proc/self is replaced), '' where the runtime gives none. */
  readonly containerID: string;
  readonly ifname: string;
  readonly netns: string;
  /** CNI_ARGS, apart. */
  readonly args: Readonly<Record<string, string>>;
  /** From the standard input; well-known keys in the specification's spelling. `prevResult` is in the form of 1.1.0. */
  readonly config: Readonly<Record<string, unknown>>;
  /** What another IPAM plugin gave, in the form of 1.1.0. */
  readonly ipamResult?: CniResult;
}

/** On the socket it has `protocol` besides. */
export interface AgentReply {
  /** Of ADD. */
  readonly result?: CniResult;
  readonly error?: { readonly code: number; readonly msg: string; readonly details?: string };
  /** Of DEL: the section `ipam` with which another plugin gave the addresses, where the request's names another one than that. It is to have its DEL too. */
  readonly formerIpam?: Readonly<Record<string, unknown>>;
  /** For the standard error. */
  readonly warnings?: readonly string[];
}

/** The agent's socket and the queue of deferred DELs, in the daemon's runtime directory. */
export const AGENT_SOCKET = 'cni.sock';
export const DEFERRED_DIRECTORY = 'cni-deferred';
export const DEFAULT_RUNTIME_DIR = '/run/kproxy-ts';

export type Protocol = 'tcp' | 'udp' | 'sctp';

export interface HostPort {
  /** Canonical; '' = every address of the node, of the pod's families. */
  readonly hostIP: string;
  readonly hostPort: number;
  readonly protocol: Protocol;
  readonly containerPort: number;
}

/** For people: `192.0.2.1:8080/tcp`, `8080/tcp`. */
export function hostPortText({ hostIP, hostPort, protocol }: HostPort): string {
  const ip = hostIP.includes(':') ? `[${hostIP}]` : hostIP;
  return `${ip === '' ? '' : `${ip}:`}${hostPort}/${protocol}`;
}

/** Bytes; the kernel has no IPv6 on a link of less (IPV6_MIN_MTU). */
export const LEAST_IPV6_MTU = 1280;

/** Bits a second, and bits. 0 = no limit in this direction. */
export interface Bandwidth {
  readonly ingressRate: number;
  readonly ingressBurst: number;
  readonly egressRate: number;
  readonly egressBurst: number;
}
