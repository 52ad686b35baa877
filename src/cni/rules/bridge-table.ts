/** The table of frames: what a checked pod sends from another source than its own doesn't get past the bridge's port. Pure. */
import { filterAt, HOOK } from '../../backends/nftables/hooks.ts';
import type { PlannedRule, SetObject } from '../../backends/nftables/objects.ts';
import { layoutOf, source } from '../../backends/nftables/packet.ts';
import type { TableSpec } from '../../backends/nftables/table-batch.ts';
import { BASE, CMP, type Expression, META, type Register, verdict } from '../../netfilter/expressions.ts';
import { type Field, TYPE } from '../../netfilter/messages.ts';
import { isIn, isNotIn, isWithin, NAME_BYTES, NAME_WORDS } from './match.ts';
import { CHAINS, SETS } from './names.ts';

/** ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 of linux/if_ether.h, in network byte order. */
const ETHERTYPE = { ip: Buffer.of(0x08, 0x00), arp: Buffer.of(0x08, 0x06), ip6: Buffer.of(0x86, 0xdd) };
/** Of the Ethernet header; of an ARP packet for Ethernet and IPv4 (RFC 826). */
const SOURCE_MAC = { base: BASE.link, offset: 6, len: 6 } as const;
const ARP_SENDER_MAC = { base: BASE.network, offset: 8, len: 6 } as const;
const ARP_SENDER_IP = { base: BASE.network, offset: 14, len: 4 } as const;
const NAME: Field = { type: TYPE.ifname, bytes: NAME_BYTES };
const MAC: Field = { type: TYPE.mac, bytes: 6 };

/** What isn't IPv4, IPv6 or ARP has no IP source to check. */
export function bridgeTable(): Pick<TableSpec, 'sets' | 'chains'> {
  const [ip4, ip6] = [layoutOf('IPv4'), layoutOf('IPv6')];
  const wrongMac = [...from({ name: 'payload', ...SOURCE_MAC, dreg: NAME_WORDS }), isNotIn(SETS.macs), verdict('drop')];
  const wrongSender: Expression[] = [
    ...from({ name: 'payload', ...ARP_SENDER_MAC, dreg: NAME_WORDS }),
    isNotIn(SETS.macs),
    verdict('drop'),
  ];
  const linkLocal = isWithin(source, ip6, { address: 'fe80::', length: 10 });
  const rules: PlannedRule[] = [
    rule([...port(0), isIn(SETS.macChecked), ...wrongMac], 'another MAC address'),
    rule([...port(0), isIn(SETS.macChecked), ...isType(ETHERTYPE.arp), ...wrongSender], 'ARP for another MAC address'),
    rule([...port(0), isNotIn(SETS.ipChecked), verdict('accept')]),
    rule(
      [...isType(ETHERTYPE.ip), ...from(source(ip4, NAME_WORDS)), isNotIn(SETS.ips4), verdict('drop')],
      'another IPv4 address',
    ),
    rule(
      [
        ...isType(ETHERTYPE.arp),
        ...from({ name: 'payload', ...ARP_SENDER_IP, dreg: NAME_WORDS }),
        isNotIn(SETS.ips4),
        verdict('drop'),
      ],
      'ARP for another IPv4 address',
    ),
    rule([...isType(ETHERTYPE.ip6), ...linkLocal, verdict('accept')], 'neighbour discovery'),
    rule(
      [...isType(ETHERTYPE.ip6), ...from(source(ip6, NAME_WORDS)), isNotIn(SETS.ips6), verdict('drop')],
      'another IPv6 address',
    ),
  ];
  return {
    sets: [
      set(SETS.macChecked, [NAME]),
      set(SETS.macs, [NAME, MAC]),
      set(SETS.ipChecked, [NAME]),
      set(SETS.ips4, [NAME, ip4.address]),
      set(SETS.ips6, [NAME, ip6.address]),
    ],
    chains: [{ kind: 'chain', name: CHAINS.spoofChecks, base: filterAt(HOOK.prerouting, BEFORE_NAT), rules }],
  };
}

/** Before NF_BR_PRI_NAT_DST_BRIDGED (-300), with which bridges begin to change frames. */
const BEFORE_NAT = -310;

function port(dreg: Register): Expression[] {
  return [{ name: 'meta', dreg, key: META.iifname }];
}

/** A key of the bridge's port and what is loaded behind it. */
function from(load: Expression): Expression[] {
  return [...port(0), load];
}

function isType(data: Buffer): Expression[] {
  return [
    { name: 'meta', dreg: 0, key: META.protocol },
    { name: 'cmp', sreg: 0, op: CMP.eq, data },
  ];
}

function set(name: string, key: readonly Field[]): SetObject {
  return { kind: 'set', spec: { name, flags: 0, key, ...(key.length === 1 ? { isHostOrder: true } : {}) } };
}

function rule(expressions: readonly Expression[], comment?: string): PlannedRule {
  return comment === undefined ? { expressions } : { expressions, comment };
}
