/** The chains that choose among endpoints: one for each number of endpoints in use, however many Services have as many. Pure. */

import { MAGLEV_SLOTS } from '../../endpoints/maglev.ts';
import { type Expression, NAT, random, VERDICT, verdict } from '../../netfilter/expressions.ts';
import { type Choice, INSIDE_SLOTS, SETS } from './names.ts';
import type { PlannedRule } from './objects.ts';
import type { NftablesOptions } from './options.ts';
import { type FamilyLayout, frontend, frontendWords, layoutOf, source } from './packet.ts';
import { fromNode, fromPods } from './sources.ts';

/** The same on every node: a client finds its endpoint by whatever node it comes. */
const HASH_SEED = 0x6b70726f;

/**
 * Rules: a slot by chance (or by the client's address), its endpoint, DNAT. A packet that is under way while the number of endpoints shrinks
 * may ask for a slot that is gone; slot 0 is there as long as the frontend has any endpoint.
 */
export function choiceRules(choice: Choice, layout: FamilyLayout): PlannedRule[] {
  const first = choice.isInside ? INSIDE_SLOTS : 0;
  const again = { expressions: toSlot(choice, layout, at => [random(at, 1, first)]), comment: 'while slots change' };
  if (choice.slots === 1) return [{ expressions: again.expressions }, again];
  const slot = (at: number): Expression[] =>
    choice.slots === 'hash' ? hashed(layout, at, first) : [random(at, choice.slots, first)];
  return [{ expressions: toSlot(choice, layout, slot) }, again];
}

function hashed(layout: FamilyLayout, at: number, first: number): Expression[] {
  const { bytes } = layout.address;
  const hash = {
    name: 'hash',
    sreg: at,
    dreg: at,
    len: bytes,
    modulus: MAGLEV_SLOTS,
    seed: HASH_SEED,
    ...(first === 0 ? {} : { offset: first }),
    type: 0,
  } as const;
  return [source(layout, at), hash];
}

function toSlot({ isNodePort }: Choice, layout: FamilyLayout, slot: (at: number) => Expression[]): Expression[] {
  return [
    ...frontend(layout, 0, { isNodePort }),
    ...slot(frontendWords(layout)),
    { name: 'lookup', set: SETS.endpoints, sreg: 0, dreg: 0 },
    toEndpoint(layout),
  ];
}

/** DNAT to the address and port in the first registers. */
function toEndpoint({ protocol, words }: FamilyLayout): Expression {
  return { name: 'nat', type: NAT.dnat, family: protocol, addressMin: 0, protoMin: words };
}

/** Where the client was before, if the map knows it; else as `then` chooses. */
export function affinityRules(map: string, then: string, layout: FamilyLayout): PlannedRule[] {
  const again = [source(layout, 0), { name: 'lookup', set: map, sreg: 0, dreg: 0 } as const, toEndpoint(layout)];
  return [{ expressions: again }, { expressions: [verdict('goto', then)] }];
}

/** Policy Local: pods and the node itself may use every endpoint, others go on to `then`, the local ones, if there are any. */
export function localRules(
  then: string | undefined,
  { isNodePort, options }: { readonly isNodePort: boolean; readonly options: NftablesOptions },
): PlannedRule[] {
  const layout = layoutOf(options.family);
  const inside: Expression[] = [
    ...frontend(layout, 0, { isNodePort }),
    { name: 'lookup', set: SETS.inside, sreg: 0, dreg: VERDICT },
  ];
  return [
    ...fromPods(options).flatMap(from => twice([...from, ...inside], 'pods may use every endpoint')),
    ...twice([...fromNode(), ...inside], 'so may the node itself'),
    ...(then === undefined ? [] : [{ expressions: [verdict('goto', then)] }]),
  ];
}

/** As in `dispatch`: kernels before 6.17 may miss an element while it is replaced. */
function twice(expressions: readonly Expression[], comment: string): PlannedRule[] {
  return [
    { expressions, comment },
    { expressions, comment: 'again, while elements change' },
  ];
}

/** Source ranges: only whom they name goes on; the packets of others keep their destination, which filter refuses. */
export function guardRules(
  then: string,
  { isNodePort, layout }: { readonly isNodePort: boolean; readonly layout: FamilyLayout },
): PlannedRule[] {
  return [{ expressions: [...isAllowed(layout, isNodePort), verdict('goto', then)] }];
}

/** True for packets whose source the frontend's ranges have. */
export function isAllowed(layout: FamilyLayout, isNodePort: boolean): Expression[] {
  return [
    ...frontend(layout, 0, { isNodePort }),
    source(layout, frontendWords(layout)),
    { name: 'lookup', set: SETS.allowed, sreg: 0 },
  ];
}

export function localChain(then: string | undefined, isNodePort: boolean): string {
  return `local-${then ?? (isNodePort ? 'node-none' : 'none')}`;
}

export function guardChain(then: string): string {
  return `guard-${then}`;
}
