/**
 * Addresses of Services that this network namespace has on `lo`, each by itself (/32, /128), through rtnetlink(7). Those that we put there are told from others'
 * by their metric (IFA_RT_PRIORITY): the kernel keeps it with an address since 4.18, and has no use for it where the address is a network of its own.
 * Constants are of include/uapi/linux/{rtnetlink,if_addr}.h.
 */
import { addressBytes, addressText } from '../net/address-bytes.ts';
import { attributesIn, hostWord, type Message, messagesIn, readHostWord } from '../netfilter/attributes.ts';
import {
  asNetlinkError,
  closeNetfilter,
  HEADER,
  NetlinkError,
  NLMSG_ERROR,
  nativeWriters,
  TIMEOUT_MS,
} from './nfnetlink.ts';

const NETLINK_ROUTE = 0;
const [RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR] = [20, 21, 22];
const NLMSG_DONE = 3;
const [REQUEST, ACK, DUMP, CREATE, EXCLUSIVE] = [1, 4, 0x300, 0x400, 0x200];
const [AF_INET, AF_INET6] = [2, 10];
/** Of every network namespace: LOOPBACK_IFINDEX. */
const LOOPBACK = 1;
/** ifaddrmsg, behind nlmsghdr. */
const ADDRESS_HEADER = 8;
const [IFA_ADDRESS, IFA_LOCAL, IFA_CACHEINFO, IFA_FLAGS, IFA_RT_PRIORITY] = [1, 2, 6, 8, 9];
/** No node's address for others, and never chosen as the source of what goes elsewhere: IPv4 by its scope, IPv6 by being deprecated. */
const RT_SCOPE_HOST = 254;
const FOREVER = 0xffff_ffff;
/** Usable at once; no route of its own to the prefix. */
const IFA_F_NODAD = 0x02;
const IFA_F_NOPREFIXROUTE = 0x200;
/** 'kpdn' */
const OUR_METRIC = 0x6b70_646e;
const EEXIST = 17;
const EADDRNOTAVAIL = 99;

/** Puts an address on `lo`; one that is there already may be somebody else's, and stays so. @throws NetlinkError */
export async function addLoopbackAddress(ip: string): Promise<void> {
  await change(RTM_NEWADDR, CREATE | EXCLUSIVE, ip, EEXIST);
}

/** Takes an address off `lo`; one that isn't there is no error. @throws NetlinkError */
export async function removeLoopbackAddress(ip: string): Promise<void> {
  await change(RTM_DELADDR, 0, ip, EADDRNOTAVAIL);
}

/** The addresses that `addLoopbackAddress` put on `lo`, of any process. Canonical. @throws NetlinkError */
export async function ownLoopbackAddresses(): Promise<readonly string[]> {
  const question = message(RTM_GETADDR, DUMP, { family: 0, length: 0 }, []);
  const found: string[] = [];
  await exchange('RTM_GETADDR', question, ({ type, bytes }) => {
    if (type !== RTM_NEWADDR || readHostWord(bytes, HEADER + 4) !== LOOPBACK) return;
    const attributes = attributesIn(bytes.subarray(HEADER + ADDRESS_HEADER));
    const metric = attributes.get(IFA_RT_PRIORITY);
    const address = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
    if (metric !== undefined && readHostWord(metric) === OUR_METRIC && address !== undefined)
      found.push(addressText(address));
  });
  return found;
}

async function change(type: number, flags: number, ip: string, isFine: number): Promise<void> {
  const address = addressBytes(ip);
  const isIPv6 = address.length === 16;
  const lifetime = Buffer.concat([hostWord(0), hostWord(FOREVER), hostWord(0), hostWord(0)]);
  const attributes: [number, Buffer][] = [
    [IFA_LOCAL, address],
    [IFA_ADDRESS, address],
    [IFA_FLAGS, hostWord(IFA_F_NODAD | IFA_F_NOPREFIXROUTE)],
    [IFA_RT_PRIORITY, hostWord(OUR_METRIC)],
    ...(isIPv6 ? [[IFA_CACHEINFO, lifetime] satisfies [number, Buffer]] : []),
  ];
  const head = { family: isIPv6 ? AF_INET6 : AF_INET, length: address.length * 8 };
  const op = type === RTM_NEWADDR ? 'RTM_NEWADDR' : 'RTM_DELADDR';
  const errno = await exchange(op, message(type, flags | ACK, head, attributes), () => undefined);
  if (errno !== 0 && errno !== isFine) throw new NetlinkError(op, errno, `${ip} on lo: errno ${errno}`);
}

function message(
  type: number,
  flags: number,
  { family, length }: { readonly family: number; readonly length: number },
  attributes: readonly (readonly [number, Buffer])[],
): Buffer {
  const parts = [Buffer.alloc(HEADER), Buffer.of(family, length, 0, RT_SCOPE_HOST), hostWord(LOOPBACK)];
  for (const [number, value] of attributes) {
    const head = Buffer.alloc(4);
    nativeWriters(head).u16(0, 4 + value.length);
    nativeWriters(head).u16(2, number);
    parts.push(head, value);
  }
  const whole = Buffer.concat(parts);
  const write = nativeWriters(whole);
  write.u32(0, whole.length);
  write.u16(4, type);
  write.u16(6, REQUEST | flags);
  return whole;
}

/** Sends a request and shows each answer; resolves to the errno that ends them, 0 = done. @throws NetlinkError without an answer */
async function exchange(op: string, request: Buffer, visit: (message: Message) => void): Promise<number> {
  const { RawNetlinkSocket } = await import('netlink/dist/raw.js');
  const socket = new RawNetlinkSocket(NETLINK_ROUTE);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const timer = setTimeout(() => reject(new NetlinkError(op, 0, 'no answer')), TIMEOUT_MS);
  try {
    socket.on('error', error => reject(asNetlinkError(op, error)));
    socket.on('message', bytes => {
      for (const answer of messagesIn(bytes)) {
        const isEnd = answer.type === NLMSG_ERROR || answer.type === NLMSG_DONE;
        if (isEnd) resolve(-(readHostWord(answer.bytes, HEADER) | 0));
        else visit(answer);
      }
    });
    socket.send(request, undefined, error => {
      if (error !== undefined) reject(asNetlinkError(op, error));
    });
    return await promise;
  } finally {
    clearTimeout(timer);
    closeNetfilter(socket);
  }
}
