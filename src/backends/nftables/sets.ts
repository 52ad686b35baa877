/** The sets and maps that exist however many Services there are. Pure. */
import { type Field, SET, type SetSpec, TYPE } from '../../netfilter/messages.ts';
import { SETS } from './names.ts';
import type { SetObject } from './objects.ts';
import type { FamilyLayout } from './packet.ts';

const PROTOCOL: Field = { type: TYPE.protocol, bytes: 1 };
const PORT: Field = { type: TYPE.port, bytes: 2 };
const SLOT: Field = { type: TYPE.mark, bytes: 4 };

/** Clients that one Service port remembers at most. */
const AFFINITY_SIZE = 262_144;

export function sharedSets({ address }: FamilyLayout): SetObject[] {
  const frontend = [address, PROTOCOL, PORT];
  const specs: SetSpec[] = [
    { name: SETS.services, flags: 0, key: frontend, value: 'verdict' },
    { name: SETS.endpoints, flags: 0, key: [...frontend, SLOT], value: [address, PORT] },
    { name: SETS.inside, flags: 0, key: frontend, value: 'verdict' },
    { name: SETS.external, flags: 0, key: frontend, value: 'verdict' },
    { name: SETS.refused, flags: 0, key: frontend, value: 'verdict' },
    { name: SETS.allowed, flags: SET.interval | SET.concatenation, key: [...frontend, address] },
    { name: SETS.hairpins, flags: 0, key: [address, address, ...frontend] },
    { name: SETS.learners, flags: 0, key: frontend, value: 'verdict' },
    { name: SETS.clusterIPs, flags: 0, key: [address] },
  ];
  return specs.map(spec => ({ kind: 'set', spec }));
}

/** client → endpoint, for as long as the rule that writes it says. */
export function affinitySet(name: string, comment: string, { address }: FamilyLayout): SetObject {
  const flags = SET.timeout | SET.dynamic;
  return { kind: 'set', spec: { name, flags, key: [address], value: [address, PORT], size: AFFINITY_SIZE, comment } };
}

/** The endpoints of one Service port. */
export function memberSet(name: string, comment: string, { address }: FamilyLayout): SetObject {
  return { kind: 'set', spec: { name, flags: 0, key: [address, PORT], comment } };
}
