/** How links of pods are called and known. Pure. */
import { createHash } from 'node:crypto';
import { type AttachmentId, attachmentKey } from '../types.ts';

const hash = (text: string) => createHash('sha256').update(text).digest('hex');
/** IFNAMSIZ less the NUL: 15; 4 + 11 hexadecimal digits. */
const DIGITS = 11;

/** The host's end of an attachment's pair. */
export function hostLinkOf(id: AttachmentId): string {
  return `veth${hash(attachmentKey(id)).slice(0, DIGITS)}`;
}

/** The link whose queue limits what a pod sends, by the name of its host link. */
export function shaperOf(hostLink: string): string {
  return `kpbw${hostLink.replace(/^veth/, '').slice(0, DIGITS)}`;
}

const MARK = 'kproxy-ts-cni';
/** IFALIASZ less the NUL. */
const ALIAS_BYTES = 255;

/** The alias of the links of an attachment: `kproxy-ts-cni <network> <containerID> <ifname>`; with names too long for it a hash of them. */
export function aliasOf(id: AttachmentId): string {
  const alias = `${MARK} ${id.network} ${id.containerID} ${id.ifname}`;
  return Buffer.byteLength(alias) <= ALIAS_BYTES ? alias : `${MARK} #${hash(attachmentKey(id))}`;
}

export const isOwnAlias = (alias: string) => alias.startsWith(`${MARK} `);

/** The reverse of `aliasOf`; undefined for others' aliases and for hashes. */
export function parseAlias(alias: string): AttachmentId | undefined {
  const [mark, network, containerID, ifname, ...rest] = alias.split(' ');
  if (mark !== MARK || network === undefined || containerID === undefined || ifname === undefined) return undefined;
  return rest.length > 0 ? undefined : { network, containerID, ifname };
}

/** A locally administered address that is always the same for this text. */
export function macOfText(text: string): string {
  return `0e:${hash(text)
    .slice(0, 10)
    .replace(/..(?=.)/g, '$&:')}`;
}

/** Of the first IPv4 address (`10.88.0.2/24`), as the reference plugins derived it: 0a:58 and the address; else of the text. */
export function macFor(addresses: readonly string[], text: string): string {
  const ipv4 = addresses.find(address => !address.includes(':'));
  if (ipv4 === undefined) return macOfText(text);
  const parts = ipv4.replace(/\/.*/, '').split('.');
  return ['0a', '58', ...parts.map(part => Number(part).toString(16).padStart(2, '0'))].join(':');
}
