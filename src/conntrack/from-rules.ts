import { CHAIN } from '../backends/iptables/names.ts';
import type { IptablesObject } from '../backends/iptables/objects.ts';
import { parseRule } from '../backends/iptables/rule-fields.ts';
import { claimKey } from '../endpoints/claims.ts';

/**
 * The claims over UDP that rules in the kernel serve. After a start they are all that is known of a Service that was deleted
 * while nobody watched: its flows still lead to its endpoints.
 */
export function* udpClaims(objects: Iterable<IptablesObject>): Iterable<string> {
  for (const object of objects) {
    if (object.kind !== 'rule' || object.table !== 'nat' || !object.rule.includes('-p udp ')) continue;
    const { protocol, destination, destinationPort: port } = parseRule(object.rule);
    if (protocol !== 'udp' || port === 0) continue;
    if (object.chain === CHAIN.nodePorts) yield claimKey({ ip: undefined, port, protocol: 'UDP' });
    if (object.chain === CHAIN.services && destination !== '')
      yield claimKey({ ip: destination, port, protocol: 'UDP' });
  }
}
