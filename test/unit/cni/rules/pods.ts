import type { PodRules } from '../../../../src/cni/rules/pod-rules.ts';
import type { HostPort } from '../../../../src/cni/types.ts';

/** The pod at 10.88.0.`number`. */
export function pod(number: number, fields: Partial<PodRules> = {}): PodRules {
  return {
    key: `net/c${number}/eth0`,
    addresses: [`10.88.0.${number}`],
    masquerade: true,
    networks: ['10.88.0.0/24'],
    areOfPods: true,
    hostPorts: [],
    bridge: 'cni0',
    behind: 'cni0',
    ...fields,
  };
}

/** 8080 to 80. */
export function tcp(fields: Partial<HostPort> = {}): HostPort {
  return { hostIP: '', hostPort: 8080, protocol: 'tcp', containerPort: 80, ...fields };
}
