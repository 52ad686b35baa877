/**
 * The kinds of value that configuration fields have. Each says what it must be in words of its own, because the reader adds
 * what it is, and because zod/mini then needs no locale (0.2 MB resident where zod takes 3 MB).
 * As in kube-proxy's defaults, an empty text, a zero number and `0s` mean "not set" where the default isn't zero.
 */
import * as z from 'zod/mini';
import { canonicalCIDR } from '../net/cidr.ts';
import { canonicalIP, ipFamily } from '../net/ip.ts';
import { parseDurationMs } from './duration.ts';

const LONGEST_INTERFACE_NAME = 15;

/** Whether a text has a value, in words for the error. */
export function checked<Output>(mustBe: string, read: (text: string) => Output | undefined) {
  return z.pipe(
    z.string({ error: mustBe }),
    z.transform((text: string, context): Output => {
      const value = read(text);
      if (value !== undefined) return value;
      context.issues.push({ code: 'custom', input: text, message: mustBe });
      return z.NEVER;
    }),
  );
}

/** Free text; '' when not set. */
export const text = (fallback = '') =>
  z._default(
    checked('must be text', value => (value === '' ? fallback : value)),
    fallback,
  );

/** true or false. */
export const flag = (fallback: boolean) => z._default(z.boolean({ error: 'must be true or false' }), fallback);

/** A whole number in a range; `isZeroUnset` where kube-proxy takes 0 for its default. */
export function integer(
  fallback: number,
  { min, max = 2_147_483_647 }: { min: number; max?: number },
  isZeroUnset = false,
) {
  const bound = max === 2_147_483_647 ? `at least ${min}` : `between ${min} and ${max}`;
  const whole = z.number({ error: 'must be a whole number' }).check(
    z.refine(value => Number.isInteger(value), { error: 'must be a whole number', abort: true }),
    z.refine(value => value >= min && value <= max, { error: `must be ${bound}` }),
  );
  return z._default(
    z.pipe(
      whole,
      z.transform((value: number) => (isZeroUnset && value === 0 ? fallback : value)),
    ),
    fallback,
  );
}

/** Any number; 0 counts as not set. */
export const amount = (fallback: number) =>
  z._default(
    z.pipe(
      z.number({ error: 'must be a number' }),
      z.transform((value: number) => (value === 0 ? fallback : value)),
    ),
    fallback,
  );

const DURATION = 'must be a duration such as 30s or 1m30s, and not negative';

function readDurationMs(value: string): number | undefined {
  const ms = parseDurationMs(value);
  return ms === undefined || ms < 0 ? undefined : ms;
}

/** A metav1.Duration that isn't negative, as milliseconds. `0s` counts as not set unless kube-proxy tells them apart. */
export function duration(fallback: string, { isZeroUnset = true } = {}) {
  const fallbackMs = parseDurationMs(fallback) ?? 0;
  const read = (value: string) => {
    const ms = readDurationMs(value);
    return ms === 0 && isZeroUnset ? fallbackMs : ms;
  };
  return z._default(checked(DURATION, read), fallbackMs);
}

/** Like `duration`, undefined when not set: for the fields whose default isn't kube-proxy's. */
export const durationIfSet = () => z.optional(checked(DURATION, readDurationMs));

const cidr = checked('must be a CIDR such as 10.0.0.0/8 or fd00::/8', canonicalCIDR);

/** A list of CIDRs, canonical. */
export const cidrs = (byDefault: readonly string[] = []) =>
  z._default(z.array(cidr, { error: 'must be a list of CIDRs' }), [...byDefault]);

/** Like `cidrs`, undefined when not set: none and any are different things. */
export const cidrsIfSet = () => z.optional(z.array(cidr, { error: 'must be a list of CIDRs' }));

/** kube-proxy's nodePortAddresses: CIDRs, or the one word `primary`. */
export function cidrsOrPrimary() {
  const entry = checked('must be a CIDR such as 10.0.0.0/8, or `primary`', value =>
    value === 'primary' ? value : canonicalCIDR(value),
  );
  const list = z
    .array(entry, { error: 'must be a list of CIDRs, or [primary]' })
    .check(
      z.refine(all => all.length === 1 || !all.includes('primary'), { error: 'must not mix `primary` with CIDRs' }),
    );
  return z._default(list, []);
}

/** One CIDR, or one of each family with a comma between (kube-proxy's clusterCIDR). */
export const cidrPair = () =>
  z._default(
    checked('must be a CIDR, or an IPv4 and an IPv6 one with a comma between', value => {
      if (value.trim() === '') return [];
      const all = value.split(',').map(part => canonicalCIDR(part));
      const known = all.filter(one => one !== undefined);
      if (known.length !== all.length || known.length > 2) return undefined;
      const families = new Set(known.map(ipFamily));
      return families.size === known.length ? known : undefined;
    }),
    [],
  );

/** An IP address, canonical. */
export const address = (fallback: string) =>
  z._default(
    checked('must be an IP address', value => (value === '' ? fallback : canonicalIP(value))),
    fallback,
  );

/** The name of a network interface, or its beginning; '' when not set. */
export const interfaceName = () =>
  z._default(
    checked(`must be an interface name of at most ${LONGEST_INTERFACE_NAME} characters`, value =>
      /[\s/]/.test(value) || Buffer.byteLength(value) > LONGEST_INTERFACE_NAME ? undefined : value,
    ),
    '',
  );

/** Where a server listens; the port isn't known yet when the text names only an address. */
export interface BindAddress {
  readonly address: string;
  readonly port?: number;
}

/** `IP:port`, `[IPv6]:port` or an IP alone, as kube-proxy's AppendPortIfNeeded accepts; undefined when not set. */
export const bindAddress = () =>
  z.optional(
    checked<BindAddress | ''>('must be IP:port, with a port between 1 and 65535', value =>
      value === '' ? '' : parseBindAddress(value),
    ),
  );

function parseBindAddress(value: string): BindAddress | undefined {
  const alone = canonicalIP(value);
  if (alone !== undefined) return { address: alone };
  const [, bracketed, plain, portText] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(value) ?? [];
  const ip = canonicalIP(bracketed ?? plain ?? '');
  const port = Number(portText);
  return ip === undefined || !(port >= 1 && port <= 65_535) ? undefined : { address: ip, port };
}

/** One of a few words; an empty text is the fallback. */
export function choice<const Word extends string>(words: readonly Word[], fallback: NoInfer<Word>) {
  const mustBe = `must be one of ${words.filter(word => word !== '').join(', ')}`;
  const word = checked(mustBe, value => (value === '' ? fallback : words.find(one => one === value)));
  return z._default(word, () => fallback as never);
}

/** A mapping whose fields are named elsewhere (feature gates). */
export const flagsByName = () =>
  z._default(
    z.record(z.string(), z.boolean({ error: 'must be true or false' }), {
      error: 'must be a mapping of names to true or false',
    }),
    {},
  );

/** Anything; for what only tunes klog. */
export const anything = () => z.optional(z.unknown());

/** A mapping with fields of its own. */
export const section = <Shape extends z.core.$ZodLooseShape>(shape: Shape) =>
  z.prefault(z.object(shape, { error: 'must be a mapping' }), {} as never);
