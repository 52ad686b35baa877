/** Whether what a plugin printed is a result of a version of the CNI specification: strict, also about fields that the version doesn't have. */
import { isIP } from 'node:net';

type Check = (value: unknown, at: string) => string[];
type Fields = Readonly<Record<string, { readonly check: Check; readonly isNeeded?: boolean }>>;

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const one =
  (what: string, isFine: (value: unknown) => boolean): Check =>
  (value, at) =>
    isFine(value) ? [] : [`${at}: ${JSON.stringify(value)} is no ${what}`];

const text = one('text', value => typeof value === 'string' && value !== '');
const count = one('whole number', value => Number.isInteger(value) && Number(value) >= 0);
const mac = one('MAC', value => typeof value === 'string' && /^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(value));
const address = one('IP address', value => typeof value === 'string' && isIP(value) !== 0);
const cidr = one('CIDR', isCIDR);

function isCIDR(value: unknown): boolean {
  const [ip = '', bits = '', ...rest] = typeof value === 'string' ? value.split('/') : [];
  const family = isIP(ip);
  return rest.length === 0 && family !== 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128);
}

const list =
  (check: Check): Check =>
  (value, at) => {
    if (!Array.isArray(value)) return [`${at}: no list`];
    return value.length === 0 ? [`${at}: an empty list`] : value.flatMap((entry, i) => check(entry, `${at}[${i}]`));
  };

const object =
  (fields: Fields): Check =>
  (value, at) => {
    if (!isObject(value)) return [`${at}: no object`];
    const strange = Object.keys(value).filter(key => fields[key] === undefined);
    const missing = Object.keys(fields).filter(key => fields[key]!.isNeeded === true && value[key] === undefined);
    return [
      ...strange.map(key => `${at}.${key}: does not belong here`),
      ...missing.map(key => `${at}.${key}: is missing`),
      ...Object.keys(fields).flatMap(key =>
        value[key] === undefined ? [] : fields[key]!.check(value[key], `${at}.${key}`),
      ),
    ];
  };

const needed = (check: Check) => ({ check, isNeeded: true });
const maybe = (check: Check) => ({ check });

const DNS = object({
  nameservers: maybe(list(address)),
  domain: maybe(text),
  search: maybe(list(text)),
  options: maybe(list(text)),
});
const OLD_ROUTE: Fields = { dst: needed(cidr), gw: maybe(address) };
const OLD_INTERFACE: Fields = { name: needed(text), mac: maybe(mac), sandbox: maybe(text) };
const IP: Fields = { address: needed(cidr), gateway: maybe(address), interface: maybe(count) };

const FAMILY = object({ ip: needed(cidr), gateway: maybe(address), routes: maybe(list(object(OLD_ROUTE))) });
const FIRST: Fields = { ip4: maybe(FAMILY), ip6: maybe(FAMILY), dns: needed(DNS) };
const digit = one('4 or 6', value => value === '4' || value === '6');
const SECOND: Fields = {
  interfaces: maybe(list(object(OLD_INTERFACE))),
  ips: maybe(list(object({ ...IP, version: needed(digit) }))),
  routes: maybe(list(object(OLD_ROUTE))),
  dns: needed(DNS),
};
const dnsThatSaysSomething: Check = (value, at) => [
  ...DNS(value, at),
  ...(isObject(value) && Object.keys(value).length === 0 ? [`${at}: says nothing`] : []),
];
const THIRD: Fields = { ...SECOND, ips: maybe(list(object(IP))), dns: maybe(dnsThatSaysSomething) };
const FOURTH: Fields = {
  ...THIRD,
  interfaces: maybe(list(object({ ...OLD_INTERFACE, mtu: maybe(count), socketPath: maybe(text), pciID: maybe(text) }))),
  routes: maybe(
    list(
      object({
        ...OLD_ROUTE,
        ...{
          mtu: maybe(count),
          advmss: maybe(count),
          priority: maybe(count),
          table: maybe(count),
          scope: maybe(count),
        },
      }),
    ),
  ),
};

const VERSIONS: Readonly<Record<string, Fields>> = {
  '0.1.0': FIRST,
  '0.2.0': FIRST,
  '0.3.0': SECOND,
  '0.3.1': SECOND,
  '0.4.0': SECOND,
  '1.0.0': THIRD,
  '1.1.0': FOURTH,
};

/** What is wrong with a printed result, a line each; none = it is one of this version. */
export function resultProblems(result: unknown, version: string): string[] {
  const fields = VERSIONS[version];
  if (fields === undefined) return [`${version}: no version of the specification`];
  const own = one(`version ${version}`, value => value === version);
  const problems = object({ ...fields, cniVersion: needed(own) })(result, 'result');
  if (fields === FIRST && isObject(result) && result.ip4 === undefined && result.ip6 === undefined)
    problems.push('result: neither ip4 nor ip6');
  return problems.length > 0 || !isObject(result) ? problems : [...families(result), ...indexes(result)];
}

function families({ ip4, ip6, ips }: Readonly<Record<string, unknown>>): string[] {
  const ofFamily = (value: unknown, digit: 4 | 6) =>
    isObject(value) && isIP(String(value.ip).split('/')[0]!) !== digit ? [`result.ip${digit}: another family`] : [];
  const wrong = (Array.isArray(ips) ? ips : []).filter(
    entry => entry.version !== undefined && isIP(String(entry.address).split('/')[0]!) !== Number(entry.version),
  );
  return [...ofFamily(ip4, 4), ...ofFamily(ip6, 6), ...wrong.map(({ address: of }) => `${of}: another version`)];
}

function indexes({ ips, interfaces }: Readonly<Record<string, unknown>>): string[] {
  const length = Array.isArray(interfaces) ? interfaces.length : 0;
  return (Array.isArray(ips) ? ips : [])
    .filter(entry => entry.interface !== undefined && entry.interface >= length)
    .map(({ address: of }) => `${of}: of no interface`);
}
