/** The numbers by which a network namespace knows others. Pure. Source: include/uapi/linux/net_namespace.h. */
import { attributesIn, type Message, readHostWord } from '../netfilter/attributes.ts';
import { HEADER, type RouteRequest, u32 } from './encoding.ts';

const [RTM_NEWNSID, RTM_GETNSID] = [88, 90];
/** rtgenmsg, padded */
const GENERIC_HEADER = 4;
const NETNSA = { nsid: 1, fd: 3 } as const;
/** It knows of none by that number: of an answer, and of a link whose other end isn't elsewhere. */
export const NO_NAMESPACE = -1;

/** Asks for the number of an open namespace. */
export function getNamespaceNumber(fd: number): RouteRequest {
  return {
    op: 'number a network namespace',
    type: RTM_GETNSID,
    flags: 0,
    head: Buffer.alloc(GENERIC_HEADER),
    attributes: [[NETNSA.fd, u32(fd)]],
  };
}

/** undefined for another message. */
export function readNamespaceNumber({ type, bytes }: Message): number | undefined {
  if (type !== RTM_NEWNSID) return undefined;
  const number = attributesIn(bytes.subarray(HEADER + GENERIC_HEADER)).get(NETNSA.nsid);
  return number === undefined ? NO_NAMESPACE : readHostWord(number) | 0;
}
