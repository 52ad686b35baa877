/** Questions about links, through one socket. */
import type { RouteKernel } from '../../linux/route-socket.ts';
import {
  type Address,
  dumpAddresses,
  dumpRoutes,
  type Route,
  readAddress,
  readRoutes,
} from '../../rtnetlink/addresses.ts';
import { AF } from '../../rtnetlink/encoding.ts';
import { dumpLinks, getLink, isLinkMessage, type Link, type LinkName, readLink } from '../../rtnetlink/links.ts';
import { getNamespaceNumber, NO_NAMESPACE, readNamespaceNumber } from '../../rtnetlink/namespaces.ts';
import { ENODEV, isErrno } from './ports.ts';

/** undefined = there is none. @throws NetlinkError */
export function findLink(route: RouteKernel, link: LinkName): Link | undefined {
  try {
    const message = route.send([getLink(link)]).find(isLinkMessage);
    return message === undefined ? undefined : readLink(message);
  } catch (error) {
    if (isErrno(error, ENODEV)) return undefined;
    throw error;
  }
}

/** By which the socket's namespace knows an open one. @throws NetlinkError */
export function namespaceNumber(route: RouteKernel, fd: number): number {
  const numbers = route.send([getNamespaceNumber(fd)]).map(readNamespaceNumber);
  return numbers.find(number => number !== undefined) ?? NO_NAMESPACE;
}

export function linksOf(route: RouteKernel): readonly Link[] {
  return route.dump(dumpLinks()).filter(isLinkMessage).map(readLink);
}

/** Kernels before 4.20 tell of every link's. */
export function addressesOf(route: RouteKernel, index: number): readonly Address[] {
  const found = route.dump(dumpAddresses(index)).map(readAddress);
  return found.filter(address => address !== undefined).filter(address => address.index === index);
}

export function routesOf(route: RouteKernel, index: number): readonly Route[] {
  const dumps = [AF.inet, AF.inet6].flatMap(family => route.dump(dumpRoutes(family)));
  return dumps.flatMap(readRoutes).filter(found => found.index === index);
}
