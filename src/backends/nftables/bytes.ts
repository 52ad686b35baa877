/** Frontends and endpoints as the registers hold them: each field padded to four bytes. Pure. */
import { addressText, writeAddress } from '../../net/address-bytes.ts';
import type { IPFamily } from '../../watch/objects.ts';
import { ANY_ADDRESS, type FrontendAddress } from './objects.ts';

/** IANA protocol numbers. */
const PROTOCOLS: Readonly<Record<string, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

function addressWidth(family: IPFamily): number {
  return family === 'IPv4' ? 4 : 16;
}

/** Address, protocol, port. */
export function frontendBytes({ ip, protocol, port }: FrontendAddress, family: IPFamily): Buffer {
  const width = addressWidth(family);
  // Of Node's pool: memory of its own costs an element more than all the rest.
  const bytes = Buffer.allocUnsafe(width + 8);
  if (ip === ANY_ADDRESS) bytes.fill(0, 0, width);
  else writeAddress(bytes, ip);
  const number = PROTOCOLS[protocol];
  if (number === undefined) throw new TypeError(`unknown protocol: ${protocol}`);
  bytes.writeUInt32BE(number * 0x100_0000, width);
  bytes.writeUInt32BE(port * 0x1_0000, width + 4);
  return bytes;
}

/** The reverse; undefined for what we never write. */
export function frontendOfBytes(bytes: Buffer, family: IPFamily): FrontendAddress | undefined {
  const width = addressWidth(family);
  const protocol = Object.keys(PROTOCOLS).find(name => PROTOCOLS[name] === bytes[width]);
  if (protocol === undefined || bytes.length < width + 8) return undefined;
  const address = bytes.subarray(0, width);
  const ip = address.every(byte => byte === 0) ? ANY_ADDRESS : addressText(address);
  return { ip, protocol, port: bytes.readUInt16BE(width + 4) };
}

/** `address:port` of an endpoint, which has brackets around IPv6 addresses. */
export function endpointBytes(text: string): Buffer {
  const bytes = Buffer.allocUnsafe(text.startsWith('[') ? 20 : 8);
  writeEndpoint(bytes, text);
  return bytes;
}

/** The same into bytes that are there already, of the family's length. */
export function writeEndpoint(bytes: Buffer, text: string): void {
  const colon = text.lastIndexOf(':');
  const ip = text.startsWith('[') ? text.slice(1, colon - 1) : text.slice(0, colon);
  const width = writeAddress(bytes, ip);
  bytes.writeUInt32BE(Number(text.slice(colon + 1)) * 0x1_0000, width);
}

/** The reverse; in one piece, see plan.ts. */
export function endpointOfBytes(bytes: Buffer): string {
  const width = bytes.length - 4;
  const port = bytes.readUInt16BE(width);
  if (width === 4) return [[bytes[0], bytes[1], bytes[2], bytes[3]].join('.'), port].join(':');
  return ['[', addressText(bytes.subarray(0, width)), ']:', port].join('');
}
