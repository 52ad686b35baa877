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

const podOf = ({ namespace, name, uid }: Omit<Regarding, 'kind'>): Regarding => ({ kind: 'Pod', namespace, name, uid });

/** A Service has the same port of the node as a pod, and is asked before it. */
export function hostPortTaken(
  pod: Omit<Regarding, 'kind'>,
  { port, what, service }: { readonly port: string; readonly what: string; readonly service: string },
): Happening {
  const note = `hostPort ${port} doesn't lead to the pod: Service ${service} has it, as ${what}`;
  return { regarding: podOf(pod), type: 'Warning', reason: 'HostPortTaken', action: 'MapHostPort', note };
}

/** A program of the node listens there, and gets nothing more. */
export function hostPortShared(
  pod: Omit<Regarding, 'kind'>,
  { text, place }: { readonly text: string; readonly place: string },
): Happening {
  const note = `hostPort ${text} leads to the pod, and no longer to the program of the node that listens at ${place}`;
  return { regarding: podOf(pod), type: 'Warning', reason: 'HostPortShared', action: 'MapHostPort', note };
}
