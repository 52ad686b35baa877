/** A result as each version of the specification has it. Pure. */
import { type CniDns, CniError, type CniInterface, type CniIP, type CniResult, type CniRoute, CODE } from '../types.ts';
import { defined, type Json } from './json.ts';
import { isAtLeast, type SpecVersion } from './versions.ts';

/** One line. @throws CniError 1 where the version can't say it; see inexpressible() */
export function resultText(result: CniResult, version: SpecVersion): string {
  return `${JSON.stringify(resultOf(result, version))}\n`;
}

/** The document. @throws CniError 1 */
export function resultOf(result: CniResult, version: SpecVersion): Json {
  const problem = inexpressible(result, version);
  if (problem !== undefined) throw problem;
  if (!isAtLeast(version, '0.3.0')) return { cniVersion: version, ...familiesOf(result), dns: dnsOf(result.dns) };
  const isLatest = isAtLeast(version, '1.1.0');
  const hasFamilies = !isAtLeast(version, '1.0.0');
  const dns = dnsOf(result.dns);
  const interfaces = (result.interfaces ?? []).map(entry => (isLatest ? entry : olderInterface(entry)));
  const ips = (result.ips ?? []).map(entry => (hasFamilies ? { version: digitOf(entry.address), ...entry } : entry));
  const routes = (result.routes ?? []).map(entry => (isLatest ? entry : olderRoute(entry)));
  return {
    cniVersion: version,
    ...(interfaces.length === 0 ? {} : { interfaces }),
    ...(ips.length === 0 ? {} : { ips }),
    ...(routes.length === 0 ? {} : { routes }),
    ...(hasFamilies || Object.keys(dns).length > 0 ? { dns } : {}),
  };
}

/** Why the version can't say this result: before 0.3.0 there is exactly one address a family, and at least one of them. */
export function inexpressible({ ips = [] }: CniResult, version: SpecVersion): CniError | undefined {
  if (isAtLeast(version, '0.3.0')) return undefined;
  const [four, six] = [addressesOf(ips, '4'), addressesOf(ips, '6')];
  const cannot = (what: string) =>
    new CniError(CODE.incompatibleVersion, `version ${version} has no result with ${what}`);
  if (four.length === 0 && six.length === 0) return cannot('no IP address');
  return four.length > 1 || six.length > 1 ? cannot('several addresses of one family') : undefined;
}

/** What another main plugin wants of its IPAM: addresses alone. */
export function addressesOnly({ ips = [], routes = [], dns }: CniResult): CniResult {
  const bare = ips.map(({ interface: _, ...address }) => address);
  return { ips: bare, routes, ...(dns === undefined ? {} : { dns }) };
}

function familiesOf({ ips = [], routes = [] }: CniResult): Json {
  const of = (digit: '4' | '6') => {
    const [entry] = addressesOf(ips, digit);
    if (entry === undefined) return undefined;
    const own = routes.filter(({ dst }) => digitOf(dst) === digit).map(olderRoute);
    return defined({ ip: entry.address, gateway: entry.gateway, routes: own.length === 0 ? undefined : own });
  };
  return defined({ ip4: of('4'), ip6: of('6') });
}

const addressesOf = (ips: readonly CniIP[], digit: '4' | '6') =>
  ips.filter(({ address }) => digitOf(address) === digit);

const digitOf = (address: string) => (address.includes(':') ? '6' : '4');

const olderInterface = ({ name, mac, sandbox }: CniInterface) => defined({ name, mac, sandbox });

const olderRoute = ({ dst, gw }: CniRoute) => defined({ dst, gw });

function dnsOf(dns: CniDns = {}): CniDns {
  return Object.fromEntries(Object.entries(dns).filter(([, value]) => value.length > 0));
}
