/** The leases that host-local left behind (plugins/ipam/host-local/backend/disk/backend.go): a file for each address. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { canonicalIP, ipFamily } from '../../net/ip.ts';
import { attachmentKey } from '../types.ts';
import type { Attachment } from './attachment.ts';

export const HOST_LOCAL_DIRECTORY = '/var/lib/cni/networks';

export interface HostLocalLease {
  readonly network: string;
  /** Canonical, without prefix length. */
  readonly ip: string;
  readonly containerID: string;
  /** '' in files of old versions. */
  readonly ifname: string;
  readonly file: string;
  /** Milliseconds of the epoch. */
  readonly modifiedAt: number;
}

/**
 * All leases of a network below `dataDir`, [] when there is no such directory. An empty file is nobody's: host-local was killed between its
 * making and its writing, and would never free it. @throws the system's error when a directory or file can't be read
 */
export function readHostLocalLeases(dataDir: string, network: string): readonly HostLocalLease[] {
  return namesIn(join(dataDir, network)).flatMap(name => {
    const lease = readLease(join(dataDir, network, name), { network, name });
    return lease === undefined ? [] : [lease];
  });
}

/** The attachments that hold these leases, to be adopted. Neither a prefix length nor a configuration is known of them. */
export function adoptableLeases(leases: readonly HostLocalLease[]): readonly Attachment[] {
  const byAttachment = Map.groupBy(leases, attachmentKey);
  return [...byAttachment.values()].flatMap(ofOne => {
    const [first] = ofOne;
    if (first === undefined) return [];
    const { network, containerID, ifname, modifiedAt } = first;
    return {
      id: { network, containerID, ifname },
      state: 'ready',
      createdAt: modifiedAt,
      addresses: ofOne.map(({ ip }) => ({ address: `${ip}/${ipFamily(ip) === 'IPv4' ? 32 : 128}` })),
      hostPorts: [],
      config: null,
      netns: '',
      leaseFiles: ofOne.map(({ file }) => file),
    };
  });
}

function readLease(file: string, { network, name }: { network: string; name: string }): HostLocalLease | undefined {
  // On file systems without colons in names host-local writes IPv6 addresses with underscores.
  const ip = canonicalIP(name.replaceAll('_', ':'));
  if (ip === undefined) return undefined; // `lock`, `last_reserved_ip.0`
  try {
    const [containerID = '', ifname = ''] = readFileSync(file, 'utf8')
      .split(/\r?\n/)
      .map(line => line.trim());
    if (containerID === '') return undefined;
    return { network, ip, containerID, ifname, file, modifiedAt: statSync(file).mtimeMs };
  } catch (error) {
    if (isMissing(error)) return undefined; // freed just now
    throw error;
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

/** A file where a directory was expected is no network. */
function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}
