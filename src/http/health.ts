/**
 * The routes of healthzBindAddress. `/healthz` and `/livez` answer in kube-proxy's shape, because load balancers and probes
 * are written for it; `/readyz` is ours and says whether the data plane is programmed, and what the API server was last heard of.
 * Source: pkg/proxy/healthcheck/proxy_health.go of Kubernetes 1.36.
 */
import { type HealthState, isFamilyHealthy } from './health-state.ts';
import { JSON_TYPE, type Reply, type Route } from './routes.ts';

export interface HealthRoutesOptions {
  readonly state: HealthState;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Counts each answer (kubeproxy_proxy_healthz_total and livez_total). */
  readonly onProbe?: (probe: 'healthz' | 'livez', status: number) => void;
}

/** Go's zero time, which kube-proxy shows before the first sync. */
const NEVER = '0001-01-01T00:00:00Z';

/** The routes of the health server. */
export function healthRoutes({ state, now, onProbe }: HealthRoutesOptions): Readonly<Record<string, Route>> {
  const probe = (name: 'healthz' | 'livez', nodeEligible?: boolean): Reply => {
    const reply = proxyHealth(state, now(), nodeEligible);
    onProbe?.(name, reply.status);
    return reply;
  };
  return {
    '/healthz': () => probe('healthz', state.isNodeEligible()),
    '/livez': () => probe('livez'),
    '/readyz': () => readiness(state, now()),
  };
}

/** kube-proxy's answer; without `nodeEligible` it is the one of /livez. */
function proxyHealth(state: HealthState, nowMs: number, nodeEligible?: boolean): Reply {
  // A family that was never programmed is left out: as in kube-proxy, starting up is healthy.
  const families = [...state.families()].filter(([, { lastUpdatedMs }]) => lastUpdatedMs !== undefined);
  const status = families.map(([family, health]) => {
    const healthy = isFamilyHealthy(health, nowMs);
    return [family, { lastUpdated: timeText(health.lastUpdatedMs), healthy }] as const;
  });
  const healthy = status.every(([, family]) => family.healthy);
  const isServing = healthy && nodeEligible !== false;
  const newestMs = families.map(([, { lastUpdatedMs = 0 }]) => lastUpdatedMs).reduce((a, b) => Math.max(a, b), 0);
  const body = {
    // While all is well this is the current time, as probes know it from older releases.
    lastUpdated: timeText(isServing ? nowMs : newestMs),
    currentTime: timeText(nowMs),
    ...(nodeEligible === undefined ? {} : { nodeEligible }),
    healthy,
    status: Object.fromEntries(status),
  };
  return { status: isServing ? 200 : 503, contentType: JSON_TYPE, body: JSON.stringify(body) };
}

/**
 * Ready means that the node's rules are what the cluster was last known to want. While the API server is away that stays so, and the
 * body says since when: rules that are hours old still serve, and a node that turns unready for it would only make things worse.
 */
function readiness(state: HealthState, nowMs: number): Reply {
  const missing = state.missing();
  const ready = missing.length === 0;
  const body = { ready, missing, ...apiServer(state, nowMs) };
  return { status: ready ? 200 : 503, contentType: JSON_TYPE, body: JSON.stringify(body) };
}

/** When the API server was last heard of: the kind that is longest ago, and each. */
function apiServer(state: HealthState, nowMs: number): object {
  const { lastContactMs } = state.source();
  if (lastContactMs === undefined) return {};
  const oldestMs = Math.min(...Object.values(lastContactMs));
  const contact = (ms: number) => (ms === 0 ? null : new Date(ms).toISOString());
  const kinds = Object.fromEntries(Object.entries(lastContactMs).map(([kind, ms]) => [kind, contact(ms)]));
  const silentSeconds = oldestMs === 0 ? null : Math.max(0, Math.round((nowMs - oldestMs) / 1000));
  return { apiServer: { lastContact: contact(oldestMs), silentSeconds, kinds } };
}

function timeText(ms: number | undefined): string {
  return ms === undefined || ms === 0 ? NEVER : new Date(ms).toISOString();
}
