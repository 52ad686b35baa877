import { CHAIN } from './names.ts';
import { byKey, chain, entry, type IptablesObject } from './objects.ts';
import {
  comment,
  dispatchChains,
  type IptablesOptions,
  jumpRules,
  LOCALNET_GUARD,
  localnetJump,
  nodePortDestinations,
  rule,
  TO_NODE,
} from './rules.ts';

const LOCALNET = '127.0.0.0/8';

/**
 * Does nothing but count connections to NodePorts on loopback addresses, of which some endpoint was chosen: nothing else leaves from there by DNAT.
 * kube-proxy counts them with nfacct.
 */
const LOCALHOST_COUNTER = `-s ${LOCALNET} ${comment('kubernetes localhost nodeports')} -m conntrack --ctstate DNAT`;

/** What exists however many Services there are. */
export function planShared(options: IptablesOptions): ReadonlyMap<string, IptablesObject> {
  const { family, masqueradeBit, formerMasqueradeBit, dropsInvalid, hasLocalhostNodePorts } = options;
  const bit = maskOf(masqueradeBit);
  const former = formerMasqueradeBit === undefined ? [] : [maskOf(formerMasqueradeBit)];
  return byKey([
    ...dispatchChains(),
    ...jumpRules(),
    ...nodePortJumps(options),
    ...(family === 'IPv4' ? localnetGuard() : []),
    chain('nat', CHAIN.markMasq, [rule({ jump: `MARK --set-xmark ${bit}/${bit}` })]),
    chain('nat', CHAIN.postrouting, [
      ...(family === 'IPv4' && hasLocalhostNodePorts ? [LOCALHOST_COUNTER] : []),
      // A packet that got the mark before it changed is masqueraded all the same.
      ...former.map(old => rule({ matches: [marked(old)], jump: `MARK --set-xmark ${bit}/${either(bit, old)}` })),
      rule({ matches: [`-m mark ! --mark ${bit}/${bit}`], jump: 'RETURN' }),
      // The mark goes, so that a packet that comes back through the stack (a tunnel, say) isn't masqueraded again.
      rule({ jump: `MARK --set-xmark ${bit}/0x0` }),
      rule({ comment: 'kubernetes service traffic requiring SNAT', jump: 'MASQUERADE --random-fully' }),
    ]),
    chain('filter', CHAIN.forward, [
      // A packet that conntrack cannot place would pass without NAT, and its answer reset the connection (kubernetes#74839).
      ...(dropsInvalid ? [rule({ matches: ['-m conntrack --ctstate INVALID'], jump: 'DROP' })] : []),
      ...[bit, ...former].map(mask =>
        rule({ comment: 'kubernetes forwarding rules', matches: [marked(mask)], jump: 'ACCEPT' }),
      ),
      rule({
        comment: 'kubernetes forwarding conntrack rule',
        matches: ['-m conntrack --ctstate RELATED,ESTABLISHED'],
        jump: 'ACCEPT',
      }),
    ]),
  ]);
}

/** The bit that rules in the kernel mark with; undefined when none do. */
export function masqueradeBitOf(plan: Pick<ReadonlyMap<string, IptablesObject>, 'get'>): number | undefined {
  const marking = plan.get(`nat/${CHAIN.markMasq}`);
  const mask =
    marking?.kind === 'chain' ? /^-j MARK --set-xmark (0x[0-9a-f]+)\/\1$/.exec(marking.rules)?.[1] : undefined;
  const bit = Math.log2(Number(mask));
  return Number.isInteger(bit) ? bit : undefined;
}

function maskOf(bit: number): string {
  return `0x${(2 ** bit).toString(16)}`;
}

/** Both bits: they differ, so the sum is the union. */
function either(a: string, b: string): string {
  return `0x${(Number(a) + Number(b)).toString(16)}`;
}

function marked(mask: string): string {
  return `-m mark --mark ${mask}/${mask}`;
}

/**
 * The last rules of KUBE-SERVICES: whatever is addressed to this node and isn't a Service's address may be a NodePort. ::1 stays out: a packet
 * with such a source is refused as martian once it leaves by another interface, and no sysctl allows it as route_localnet does for IPv4.
 */
function nodePortJumps(options: IptablesOptions): IptablesObject[] {
  const text = 'kubernetes service nodeports; NOTE: this must be the last rule in this chain';
  return nodePortDestinations(options).map(destination => {
    const where = destination === undefined ? {} : { destination };
    return entry('nat', CHAIN.services, rule({ ...where, comment: text, matches: [TO_NODE], jump: CHAIN.nodePorts }));
  });
}

/**
 * With route_localnet, which NodePorts on 127.0.0.1 need, the network could reach what listens on 127.0.0.0/8 (CVE-2020-8558). There whether or not such
 * NodePorts are: the kernel may have been told so before us, or not have been told otherwise since. Answers to connections from there, and what was
 * sent there by DNAT, are let in. kube-proxy goes by the source address; the interface can't be forged.
 */
export function localnetGuard(): IptablesObject[] {
  const matches = [comment(LOCALNET_GUARD), '-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT'];
  const guard = rule({ destination: LOCALNET, inInterface: '! lo', matches, jump: 'DROP' });
  return [chain('filter', CHAIN.localnet, [guard]), localnetJump()];
}
