import type { ServicePort } from '../../endpoints/types.ts';

/** What a Service may ask for and this mode doesn't do: an endpoint's port would have to come out of a map by what another map says. */
export function unserved({ isAffinityShared, affinityTimeoutSeconds }: ServicePort): readonly string[] {
  if (!isAffinityShared || affinityTimeoutSeconds === 0) return [];
  return [
    'annotation kproxy-ts.dev/session-affinity-scope: needs the iptables mode; each port remembers by itself here',
  ];
}
