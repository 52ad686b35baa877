/**
 * The routes of healthzBindAddress. `/healthz` and `/livez` answer in kube-proxy's shape, because load balancers and probes
 * are written for it; `/readyz` is ours and says whether the data plane is programmed.
 * Source: pkg/proxy/healthcheck/proxy_health.go of Kubernetes 1.36.
 */
import type { HealthState } from './health-state.ts';
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
/** A queued update that waits this many sync periods means that the proxy is stuck. */
const PERIODS_UNTIL_STUCK = 2;

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
    '/readyz': () => readiness(state),
  };
}

/** kube-proxy's answer; without `nodeEligible` it is the one of /livez. */
function proxyHealth(state: HealthState, nowMs: number, nodeEligible?: boolean): Reply {
  // A family that was never programmed is left out: as in kube-proxy, starting up is healthy.
  const families = [...state.families()].filter(([, { lastUpdatedMs }]) => lastUpdatedMs !== undefined);
  const status = families.map(([family, { syncPeriodMs, pendingSinceMs = nowMs, lastUpdatedMs }]) => {
    const healthy = nowMs - pendingSinceMs < PERIODS_UNTIL_STUCK * syncPeriodMs;
    return [family, { lastUpdated: timeText(lastUpdatedMs), healthy }] as const;
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

function readiness(state: HealthState): Reply {
  const missing = state.missing();
  const ready = missing.length === 0;
  return { status: ready ? 200 : 503, contentType: JSON_TYPE, body: JSON.stringify({ ready, missing }) };
}

function timeText(ms: number | undefined): string {
  return ms === undefined || ms === 0 ? NEVER : new Date(ms).toISOString();
}
