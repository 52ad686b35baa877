/**
 * IP addresses as canonical text, so that equality of addresses is equality of strings: IPv4 as four decimal numbers,
 * IPv6 in lower case and compressed (RFC 5952). Everything from outside is canonicalised once, at the border.
 */

export type IPFamily = 'IPv4' | 'IPv6';

const DOT = 46;
const COLON = 58;
const ZERO = 48;

/**
 * The 32 bits of an IPv4 address as an unsigned number, undefined when the text isn't one. Leading zeros are decimal, as
 * Kubernetes reads them (k8s.io/utils/net ParseIPSloppy), never octal: `172.30.0.041` is 172.30.0.41.
 */
export function parseIPv4(text: string): number | undefined {
  let bits = 0;
  let octet = 0;
  let digits = 0;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      if (digits === 0 || ++dots > 3) return undefined;
      bits = bits * 256 + octet;
      octet = 0;
      digits = 0;
      continue;
    }
    const digit = code - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    octet = octet * 10 + digit;
    digits++;
    if (octet > 255) return undefined;
  }
  return dots === 3 && digits > 0 ? bits * 256 + octet : undefined;
}

/** The canonical text of 32 bits. */
export function formatIPv4(bits: number): string {
  return `${bits >>> 24}.${(bits >>> 16) & 255}.${(bits >>> 8) & 255}.${bits & 255}`;
}

/** The value of one group of up to four hexadecimal digits, -1 when the text isn't one. */
function parseGroup(text: string): number {
  return /^[0-9a-f]{1,4}$/i.test(text) ? Number.parseInt(text, 16) : -1;
}

/** The groups of one side of `::` (or of the whole address); the last may be a dotted IPv4 when `mayEndDotted`. */
function parseGroups(text: string, mayEndDotted: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    const bits = mayEndDotted && index === parts.length - 1 && part.includes('.') ? parseIPv4(part) : undefined;
    if (bits !== undefined) {
      groups.push(bits >>> 16, bits & 0xffff);
      continue;
    }
    const group = parseGroup(part);
    if (group < 0) return undefined;
    groups.push(group);
  }
  return groups;
}

/** The eight 16-bit groups of an IPv6 address, undefined when the text isn't one. Zones (`%eth0`) are not addresses. */
export function parseIPv6(text: string): readonly number[] | undefined {
  const gap = text.indexOf('::');
  if (gap < 0) {
    const groups = parseGroups(text, true);
    return groups?.length === 8 ? groups : undefined;
  }
  const head = parseGroups(text.slice(0, gap), false);
  const tail = parseGroups(text.slice(gap + 2), true);
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  // RFC 4291 2.2: "::" stands for one or more groups.
  return missing < 1 ? undefined : [...head, ...new Array<number>(missing).fill(0), ...tail];
}

/** Where the longest run of at least two zero groups is; the first wins a tie (RFC 5952 4.2). */
function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: -1, length: 1 };
  let start = -1;
  for (let i = 0; i <= groups.length; i++) {
    if (i < groups.length && groups[i] === 0) {
      if (start < 0) start = i;
      continue;
    }
    if (start >= 0 && i - start > best.length) best = { start, length: i - start };
    start = -1;
  }
  return best;
}

/** The canonical text of eight 16-bit groups (RFC 5952, always in hexadecimal). */
export function formatIPv6(groups: readonly number[]): string {
  const run = longestZeroRun(groups);
  const hex = groups.map(group => group.toString(16));
  if (run.start < 0) return hex.join(':');
  return `${hex.slice(0, run.start).join(':')}::${hex.slice(run.start + run.length).join(':')}`;
}

/** Whether the groups are `::ffff:a.b.c.d` (RFC 4291 2.5.5.2). */
function isMapped(groups: readonly number[]): boolean {
  return groups[5] === 0xffff && groups.slice(0, 5).every(group => group === 0);
}

/**
 * The canonical text of an address, undefined when the text isn't an address. Surrounding white space is ignored. An
 * IPv4-mapped IPv6 address becomes the IPv4 address that it means, as Go's net.IP does for every Kubernetes component.
 */
export function canonicalIP(text: string): string | undefined {
  const trimmed = text.trim();
  const bits = parseIPv4(trimmed);
  if (bits !== undefined) return formatIPv4(bits);
  const groups = parseIPv6(trimmed);
  if (groups === undefined) return undefined;
  return isMapped(groups) ? formatIPv4((groups[6] ?? 0) * 65536 + (groups[7] ?? 0)) : formatIPv6(groups);
}

/** The family of a canonical address (or CIDR). */
export function ipFamily(canonical: string): IPFamily {
  for (let i = 0; i < canonical.length; i++) if (canonical.charCodeAt(i) === COLON) return 'IPv6';
  return 'IPv4';
}

/** Whether a canonical address is the unspecified one (0.0.0.0 or ::), which can be nobody's address. */
export function isUnspecified(canonical: string): boolean {
  return canonical === '0.0.0.0' || canonical === '::';
}

/** Whether a canonical address is a multicast address (224.0.0.0/4 or ff00::/8). */
export function isMulticast(canonical: string): boolean {
  if (canonical.includes(':')) return /^ff[0-9a-f]{2}:/.test(canonical);
  const first = Number(canonical.slice(0, canonical.indexOf('.')));
  return first >= 224 && first <= 239;
}

/** Whether a canonical address is a loopback address (127.0.0.0/8 or ::1). */
export function isLoopback(canonical: string): boolean {
  return canonical.startsWith('127.') || canonical === '::1';
}
