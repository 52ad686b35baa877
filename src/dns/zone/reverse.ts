/** Addresses as names: RFC 1035 §3.5 (in-addr.arpa), RFC 3596 §2.5 (ip6.arpa), and the labels of endpoints and pods. Pure. */
import { canonicalIP, formatIPv4, formatIPv6, parseIPv6 } from '../../net/ip.ts';

/** The address that a reverse name is of; undefined where it is of none, or of a part only. Lower case. */
export function addressOfReverse(labels: readonly string[]): string | undefined {
  const [top, kind] = [labels.at(-1), labels.at(-2)];
  if (top !== 'arpa') return undefined;
  const parts = labels.slice(0, -2).toReversed();
  if (kind === 'in-addr') return ofBytes(parts);
  return kind === 'ip6' ? ofNibbles(parts) : undefined;
}

/** Whether the name is above those of addresses: `244.10.in-addr.arpa`. */
export function isAboveReverse(labels: readonly string[]): boolean {
  const [kind, parts] = [labels.at(-2), labels.slice(0, -2)];
  if (labels.at(-1) !== 'arpa') return false;
  if (kind === 'ip6') return parts.length < 32 && parts.every(isNibble);
  return kind === 'in-addr' && parts.length < 4 && parts.every(isByte);
}

function isByte(part: string): boolean {
  return /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255;
}

function isNibble(part: string): boolean {
  return /^[0-9a-f]$/.test(part);
}

function ofBytes(parts: readonly string[]): string | undefined {
  if (parts.length !== 4) return undefined;
  let bits = 0;
  for (const part of parts) {
    if (!isByte(part)) return undefined;
    bits = bits * 256 + Number(part);
  }
  return formatIPv4(bits);
}

function ofNibbles(parts: readonly string[]): string | undefined {
  if (parts.length !== 32 || !parts.every(isNibble)) return undefined;
  const groups = Array.from({ length: 8 }, (_, i) => Number.parseInt(parts.slice(4 * i, 4 * i + 4).join(''), 16));
  return formatIPv6(groups);
}

/** `172-0-0-1`, `5678-abcd--1`; a label neither begins nor ends with a hyphen, so `::1` is `0--1` and `2001:db8::` `2001-db8--0`. */
export function labelOfAddress(ip: string): string {
  const label = ip.replaceAll(/[.:]/g, '-');
  return `${label.startsWith('-') ? '0' : ''}${label}${label.endsWith('-') ? '0' : ''}`;
}

/** The reverse, for pods; canonical. Any way to write an IPv6 address is understood. */
export function addressOfLabel(label: string): string | undefined {
  if (!/^[0-9a-f-]+$/.test(label)) return undefined;
  const dotted = label.replaceAll('-', '.');
  if (/^\d+(?:\.\d+){3}$/.test(dotted)) return canonicalIP(dotted);
  const colons = label.replaceAll('-', ':');
  return parseIPv6(colons) === undefined ? undefined : canonicalIP(colons);
}
