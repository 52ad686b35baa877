/** The addresses of this network namespace's interfaces, and when they change (rtnetlink(7)). */
import { networkInterfaces } from 'node:os';
import { canonicalCIDR } from '../net/cidr.ts';
import { canonicalIP } from '../net/ip.ts';

const NETLINK_ROUTE = 0;
/** RTNLGRP_IPV4_IFADDR and RTNLGRP_IPV6_IFADDR of include/uapi/linux/rtnetlink.h. */
const ADDRESS_GROUPS = [5, 9];

/** Canonical addresses of both families, loopback included. */
export function nodeAddresses(): readonly string[] {
  const all = Object.values(networkInterfaces()).flatMap(addresses => addresses ?? []);
  return all.flatMap(({ address }) => canonicalIP(address) ?? []);
}

/** The networks of this machine's interfaces, canonical CIDRs, each once. */
export function interfaceNetworks(): readonly string[] {
  const all = Object.values(networkInterfaces()).flatMap(addresses => addresses ?? []);
  return [...new Set(all.flatMap(({ cidr }) => canonicalCIDR(cidr ?? '') ?? []))];
}

/**
 * Calls back after each change of an address, until disposed, and when the kernel lost a message (ENOBUFS): who wants to know more
 * reads them again.
 */
export async function watchAddresses(onChange: () => void): Promise<Disposable> {
  const { RawNetlinkSocket } = await import('netlink/dist/raw.js');
  const socket = new RawNetlinkSocket(NETLINK_ROUTE);
  socket.on('message', onChange);
  socket.on('error', onChange);
  for (const group of ADDRESS_GROUPS) socket.addMembership(group);
  return { [Symbol.dispose]: () => socket.close() };
}
