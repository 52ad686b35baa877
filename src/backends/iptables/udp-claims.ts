import { claimKey } from '../../endpoints/claims.ts';
import { CHAIN } from './names.ts';
import type { IptablesObject } from './objects.ts';
import { parseRule } from './rule-fields.ts';

/** The claims over UDP that rules in the kernel serve; see FamilyBackend. */
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
