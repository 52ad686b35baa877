/** CNI_NETNS. */
import { CniError, CODE } from '../types.ts';
import { isFailed } from './call.ts';
import type { Host } from './host.ts';

const OWN = '/proc/self/ns/net';

export interface PodNetns {
  /** For processes other than this one; '' = there is none any more. */
  readonly path: string;
  /** Means what it means only while this process lives. */
  readonly isOfProcess: boolean;
}

const GONE: PodNetns = { path: '', isOfProcess: false };

/** @throws CniError 4: no namespace; 8: the one that this process is in */
export function requireNetns(host: Host, path: string): PodNetns {
  if (!path.startsWith('/')) throw wrong(path, 'is no absolute path');
  const identity = host.netnsIdentity(path);
  if (isFailed(identity))
    throw wrong(path, identity.failure === 'missing' ? 'does not exist' : 'is no network namespace', identity.message);
  if (identity === host.netnsIdentity(OWN))
    throw new CniError(CODE.netnsIsHosts, `CNI_NETNS: ${path} is the namespace that this runs in, not one of a pod`);
  return forOthers(host, path);
}

/** Of a pod that goes: whatever isn't the namespace of a pod counts as gone. */
export function netnsIfThere(host: Host, path: string): PodNetns {
  if (!path.startsWith('/')) return GONE;
  const identity = host.netnsIdentity(path);
  return isFailed(identity) || identity === host.netnsIdentity(OWN) ? GONE : forOthers(host, path);
}

function forOthers(host: Host, path: string): PodNetns {
  const others = path.replace(/^\/+proc\/+(?:thread-)?self\//, `/proc/${host.pid}/`);
  return { path: others, isOfProcess: others !== path };
}

const wrong = (path: string, problem: string, details = '') =>
  new CniError(CODE.badEnvironment, `CNI_NETNS: ${path} ${problem}`, details);
