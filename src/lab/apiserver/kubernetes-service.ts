/** What a real API server makes for itself: the ServiceCIDR `kubernetes`, and the Service of this name at its first address. */
import { familyOf } from './addresses.ts';
import type { Store } from './store.ts';

export interface KubernetesServiceOptions {
  /** Where the API server is reached. */
  readonly address: string;
  readonly port: number;
}

/** Makes the ServiceCIDR, and the Service with its EndpointSlice and Endpoints, unless it exists. */
export function createKubernetesService(store: Store, { address, port }: KubernetesServiceOptions): void {
  const [namespace, name] = ['default', 'kubernetes'];
  if (store.get('services', namespace, name) !== undefined) return;
  const ports = [{ name: 'https', protocol: 'TCP', port }];
  const conditions = [{ type: 'Ready', status: 'True', reason: '', message: 'Kubernetes Service CIDR is ready' }];
  const range = { metadata: { name }, spec: { cidrs: [...store.serviceCIDRs] }, status: { conditions } };
  store.create('servicecidrs', '', range, { keepStatus: true });
  store.create('services', namespace, {
    metadata: { name, labels: { component: 'apiserver', provider: 'kubernetes' } },
    spec: {
      clusterIP: store.firstServiceAddress,
      ports: [{ name: 'https', protocol: 'TCP', port: 443, targetPort: port }],
    },
  });
  store.create('endpointslices', namespace, {
    metadata: { name, labels: { 'kubernetes.io/service-name': name } },
    addressType: familyOf(address) ?? 'IPv4',
    endpoints: [{ addresses: [address], conditions: { ready: true } }],
    ports,
  });
  store.create('endpoints', namespace, {
    metadata: { name, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets: [{ addresses: [{ ip: address }], ports }],
  });
}
