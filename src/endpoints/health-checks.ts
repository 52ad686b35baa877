import { type Model, serviceOfKey, servicePortKey } from './types.ts';

/** What the health check node port of one Service answers, in one IP family. */
export interface HealthCheck {
  /** spec.healthCheckNodePort. */
  readonly port: number;
  /** Of the Service; settles who has a port that two ask for. */
  readonly creationTimestamp: string;
  readonly localEndpoints: number;
}

/** The health check of a Service (namespace/name); undefined when it has none: only load balancers with policy Local do. */
export function healthCheckOf(model: Model, service: string): HealthCheck | undefined {
  const ports = model.servicePorts.get(service) ?? [];
  const [first] = ports;
  if (first === undefined || first.healthCheckNodePort === 0) return undefined;
  const { healthCheckNodePort: port, creationTimestamp } = first;
  return { port, creationTimestamp, localEndpoints: localReadyAddresses(model, service) };
}

/**
 * The distinct addresses of ready endpoints on this node, over all ports of the Service. Endpoints that serve while they
 * terminate get traffic but don't count: the load balancer drains the node first (KEP-1669).
 */
export function localReadyAddresses(model: Model, service: string): number {
  const addresses = new Set<string>();
  for (const port of model.servicePorts.get(service) ?? []) {
    for (const { ip, isLocal, isReady } of model.routes.get(servicePortKey(port.name))?.endpoints ?? []) {
      if (isLocal && isReady) addresses.add(ip);
    }
  }
  return addresses.size;
}

/** The Services (namespace/name) whose routes a Model says have changed. */
export function changedServices(model: Model): ReadonlySet<string> {
  return new Set([...model.changed].map(serviceOfKey));
}
