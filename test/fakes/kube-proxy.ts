/** What both layouts of kube-proxy are made of: a node's Services as a test wants them. */
import type { DumpServicePort } from '../../src/dump/state.ts';
import type { IPFamily } from '../../src/net/ip.ts';

export interface KubeProxyService {
  /** `namespace/name:port`; `namespace/name` when the port has no name. */
  readonly name: string;
  readonly protocol: 'tcp' | 'udp';
  readonly clusterIP: string;
  readonly port: number;
  readonly nodePort?: number;
  readonly endpoints: readonly { readonly ip: string; readonly port: number }[];
}

export interface KubeProxyNode {
  readonly family: IPFamily;
  readonly clusterCIDR: string;
  readonly services: readonly KubeProxyService[];
  /** Default 14, as kube-proxy's. */
  readonly masqueradeBit?: number;
  /** Default: all. */
  readonly nodePortAddresses?: readonly string[];
}

/** A Service that no cluster has any more. */
export const GONE: Readonly<Record<IPFamily, KubeProxyService>> = {
  IPv4: gone('10.96.200.200', '10.244.1.250'),
  IPv6: gone('fd00:10:96::c8c8', 'fd00:10:244:1::250'),
};

function gone(clusterIP: string, ip: string): KubeProxyService {
  return { name: 'old/gone:http', protocol: 'tcp', clusterIP, port: 80, endpoints: [{ ip, port: 8080 }] };
}

/** The Services of a node as its daemon dumps them, of policy Cluster. */
export function servicesOf(ports: readonly DumpServicePort[]): KubeProxyService[] {
  return ports.flatMap(({ namespace, name, port, protocol, addresses, endpoints }) => {
    const clusterIP = addresses.find(({ kind }) => kind === 'clusterIP');
    const nodePort = addresses.find(({ kind }) => kind === 'nodePort')?.port;
    if (clusterIP?.ip === undefined || protocol === 'SCTP') return [];
    return [
      {
        name: `${namespace}/${name}${port === '' ? '' : `:${port}`}`,
        protocol: protocol === 'TCP' ? ('tcp' as const) : ('udp' as const),
        clusterIP: clusterIP.ip,
        port: clusterIP.port,
        ...(nodePort === undefined ? {} : { nodePort }),
        endpoints: endpoints.filter(({ used }) => used).map(({ ip, port: target }) => ({ ip, port: target })),
      },
    ];
  });
}

/** `10.0.0.1:80`, `[fd00::1]:80` */
export function socketText({ ip, port }: { readonly ip: string; readonly port: number }): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}
