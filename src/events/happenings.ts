/** The Events that this program posts. Reasons and actions are kube-proxy's where it has the Event too. */
import type { Loss } from '../endpoints/claims.ts';
import { servicePortText } from '../endpoints/types.ts';
import type { Happening, Regarding } from './event.ts';

/** This process begins its work; see cmd/kube-proxy/app/server.go. */
export function started(node: string, what: string): Happening {
  // The node's name in the place of its uid, as the kubelet and kube-proxy have it: `kubectl describe node` looks for that.
  const regarding: Regarding = { kind: 'Node', namespace: '', name: node, uid: node };
  return { regarding, type: 'Normal', reason: 'Starting', action: 'StartKubeProxy', note: `${what} starts` };
}

export interface HealthCheckFailure {
  readonly node: string;
  readonly port: number;
  readonly reason: string;
}

/** A health check node port can't be served; see pkg/proxy/healthcheck/service_health.go. */
export function healthCheckFailed(regarding: Regarding, { node, port, reason }: HealthCheckFailure): Happening {
  const { namespace, name } = regarding;
  const note = `node ${node} failed to start healthcheck "${namespace}/${name}" on port ${port}: ${reason}`;
  const facts = { reason: 'FailedToStartServiceHealthcheck', action: 'StartServiceHealthcheck' };
  return { regarding, type: 'Warning', ...facts, note };
}

/** Another Service has what this one asks for. */
export function addressLost(regarding: Regarding, { key, loser, owner }: Loss): Happening {
  const note = `${key} belongs to ${servicePortText(owner)}, so ${servicePortText(loser)} is not served there`;
  return { regarding, type: 'Warning', reason: 'AddressContested', action: 'ClaimAddress', note };
}
