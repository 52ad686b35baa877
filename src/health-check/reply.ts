/**
 * The answer of a health check node port, which load balancers in front of the nodes are written for.
 * Source: pkg/proxy/healthcheck/service_health.go of Kubernetes 1.36.
 */
export interface HealthAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface HealthFacts {
  /** namespace/name */
  readonly service: string;
  readonly localEndpoints: number;
  readonly isProxyHealthy: boolean;
}

/** 200 while this node has ready endpoints of the Service and its rules follow the cluster. */
export function healthAnswer({ service, localEndpoints, isProxyHealthy }: HealthFacts): HealthAnswer {
  const slash = service.indexOf('/');
  const content = {
    service: { namespace: service.slice(0, slash), name: service.slice(slash + 1) },
    localEndpoints,
    serviceProxyHealthy: isProxyHealthy,
  };
  const body = JSON.stringify(content, undefined, '\t');
  return {
    status: localEndpoints > 0 && isProxyHealthy ? 200 : 503,
    headers: {
      'Content-Type': 'application/json',
      'Content-Length': String(Buffer.byteLength(body)),
      'X-Content-Type-Options': 'nosniff',
      'X-Load-Balancing-Endpoint-Weight': String(localEndpoints),
    },
    body,
  };
}
