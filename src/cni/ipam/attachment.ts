/** What is kept of an attachment: all that DEL, CHECK and repair need, whatever the configuration has become. Pure. */

import { parseCIDR } from '../../net/cidr.ts';
import { canonicalIP } from '../../net/ip.ts';
import type { AttachmentId, HostPort, PodName, Protocol } from '../types.ts';

export interface KeptAddress {
  /** Canonical, with prefix length: `10.88.0.2/24`. */
  readonly address: string;
  readonly gateway?: string;
}

export interface Attachment {
  readonly id: AttachmentId;
  /** An intent is wired right now, or was when its agent died. */
  readonly state: 'intent' | 'ready';
  /** Milliseconds of the epoch, for people only. */
  readonly createdAt: number;
  readonly addresses: readonly KeptAddress[];
  /** Another IPAM plugin gave the addresses: they are in none of our pools. */
  readonly isDelegated?: boolean;
  readonly hostPorts: readonly HostPort[];
  /** JSON; its owner knows its shape. */
  readonly config: unknown;
  /** The path that the runtime gave, '' = none. */
  readonly netns: string;
  /** `dev:ino` of the namespace. */
  readonly netnsId?: string;
  readonly hostLink?: string;
  readonly mac?: string;
  readonly pod?: PodName;
  /** Files of host-local that go when this attachment does. */
  readonly leaseFiles?: readonly string[];
}

/** For errors that name the holder: `kp/c1/eth0 (pod default/web-0)`. */
export function attachmentText({ id: { network, containerID, ifname }, pod }: Attachment): string {
  const of = pod === undefined || pod.name === '' ? '' : ` (pod ${pod.namespace}/${pod.name})`;
  return `${[network, containerID, ifname].filter(Boolean).join('/')}${of}`;
}

/** Without prefix length. */
export function addressOf({ address }: KeptAddress): string {
  return address.slice(0, address.indexOf('/'));
}

/** As it is in the database, beside the identity. */
export function encodeAttachment(attachment: Attachment): string {
  // `config` may be a getter, which a spread leaves out.
  const { id: _, ...rest } = { ...attachment, config: attachment.config };
  return JSON.stringify(rest);
}

/** @throws TypeError that says what is wrong */
export function decodeAttachment(id: AttachmentId, text: unknown): Attachment {
  if (typeof text !== 'string') throw new TypeError('is no text');
  const value: unknown = parseJson(text);
  if (typeof value !== 'object' || value === null) throw new TypeError('is no object');
  const fields = value as Readonly<Record<string, unknown>>;
  return {
    id,
    state: oneOf(fields.state, ['intent', 'ready'], 'state'),
    createdAt: typeof fields.createdAt === 'number' ? fields.createdAt : 0,
    addresses: listOf(fields.addresses, 'addresses', readAddress),
    ...(fields.isDelegated === true ? { isDelegated: true } : {}),
    hostPorts: listOf(fields.hostPorts, 'hostPorts', readHostPort),
    config: fields.config ?? null,
    netns: typeof fields.netns === 'string' ? fields.netns : '',
    ...textFields(fields, ['netnsId', 'hostLink', 'mac']),
    ...(fields.pod === undefined ? {} : { pod: readPod(fields.pod) }),
    ...(fields.leaseFiles === undefined
      ? {}
      : { leaseFiles: listOf(fields.leaseFiles, 'leaseFiles', file => readText(file, 'leaseFiles')) }),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TypeError('is no JSON', { cause: error });
  }
}

function oneOf<T extends string>(value: unknown, allowed: readonly T[], field: string): T {
  const found = allowed.find(text => text === value);
  if (found === undefined) throw new TypeError(`${field} is ${JSON.stringify(value)}`);
  return found;
}

function listOf<T>(value: unknown, field: string, read: (item: unknown) => T): readonly T[] {
  if (!Array.isArray(value)) throw new TypeError(`${field} is no list`);
  return value.map(read);
}

function readText(value: unknown, field: string): string {
  if (typeof value !== 'string') throw new TypeError(`${field} is ${JSON.stringify(value)}`);
  return value;
}

function textFields<K extends string>(
  fields: Readonly<Record<string, unknown>>,
  names: readonly K[],
): { readonly [P in K]?: string } {
  const texts: { [P in K]?: string } = {};
  for (const name of names) if (fields[name] !== undefined) texts[name] = readText(fields[name], name);
  return texts;
}

function fieldsOf(value: unknown, field: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) throw new TypeError(`${field} is ${JSON.stringify(value)}`);
  return value as Readonly<Record<string, unknown>>;
}

function readAddress(value: unknown): KeptAddress {
  const { address, gateway } = fieldsOf(value, 'addresses');
  const text = readText(address, 'addresses');
  const ip = canonicalIP(text.replace(/\/.*/, ''));
  if (ip === undefined || parseCIDR(text) === undefined) throw new TypeError(`addresses has ${text}`);
  return {
    address: `${ip}${text.slice(text.indexOf('/'))}`,
    ...(gateway === undefined ? {} : { gateway: readText(gateway, 'gateway') }),
  };
}

function readPort(value: unknown): number {
  if (!Number.isInteger(value)) throw new TypeError(`hostPorts has ${JSON.stringify(value)}`);
  return Number(value);
}

function readHostPort(value: unknown): HostPort {
  const { hostIP, hostPort, protocol, containerPort } = fieldsOf(value, 'hostPorts');
  return {
    hostIP: readText(hostIP, 'hostPorts'),
    hostPort: readPort(hostPort),
    protocol: oneOf<Protocol>(protocol, ['tcp', 'udp', 'sctp'], 'hostPorts'),
    containerPort: readPort(containerPort),
  };
}

function readPod(value: unknown): PodName {
  const { namespace, name, uid } = fieldsOf(value, 'pod');
  return { namespace: readText(namespace, 'pod'), name: readText(name, 'pod'), uid: readText(uid, 'pod') };
}
