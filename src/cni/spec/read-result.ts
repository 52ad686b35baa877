/** Results of any version, as one of 1.1.0. Fields that a version doesn't have are ignored. Pure. */
import { parseCIDR } from '../../net/cidr.ts';
import { canonicalIP } from '../../net/ip.ts';
import { type CniDns, CniError, type CniInterface, type CniIP, type CniResult, type CniRoute, CODE } from '../types.ts';
import { defined, isObject, type Json } from './json.ts';
import { RESULT_SPELLING, respelled } from './spelling.ts';
import { isAtLeast, type SpecVersion } from './versions.ts';

/** `where` names the result in errors. The result is without `cniVersion`. @throws CniError 6 */
export function readResult(value: unknown, version: SpecVersion, where: string): CniResult {
  const json = objectAt(respelled(value, RESULT_SPELLING), where);
  const dns = optional(json.dns, entry => readDns(entry, `${where}.dns`));
  const said = dns === undefined || Object.keys(dns).length === 0 ? {} : { dns };
  if (!isAtLeast(version, '0.3.0')) return { ...readFamilies(json, where), ...said };
  const isLatest = isAtLeast(version, '1.1.0');
  const interfaces = listAt(json, 'interfaces', where, (entry, at) => readInterface(entry, at, isLatest));
  const ips = listAt(json, 'ips', where, (entry, at) => readIP(entry, at, interfaces.length));
  const routes = listAt(json, 'routes', where, (entry, at) => readRoute(entry, at, isLatest));
  return { ...nonEmpty({ interfaces, ips, routes }), ...said };
}

/** 0.1.0 and 0.2.0: one address a family, with its routes. */
function readFamilies(json: Json, where: string): CniResult {
  const ips: CniIP[] = [];
  const routes: CniRoute[] = [];
  for (const family of ['ip4', 'ip6']) {
    const field = json[family];
    if (field === undefined || field === null) continue;
    const at = `${where}.${family}`;
    const entry = objectAt(field, at);
    ips.push(defined<CniIP>({ address: cidrAt(entry, 'ip', at), gateway: addressAt(entry, 'gateway', at) }));
    routes.push(...listAt(entry, 'routes', at, (route, path) => readRoute(route, path, false)));
  }
  return nonEmpty({ ips, routes });
}

function readInterface(value: unknown, where: string, isLatest: boolean): CniInterface {
  const entry = objectAt(value, where);
  const name = textAt(entry, 'name', where);
  if (name === undefined) throw wrong(`${where}.name`, 'is missing');
  const base = { name, mac: textAt(entry, 'mac', where), sandbox: textAt(entry, 'sandbox', where) };
  if (!isLatest) return defined<CniInterface>({ ...base, mtu: undefined, socketPath: undefined, pciID: undefined });
  return defined<CniInterface>({
    ...base,
    mtu: numberAt(entry, 'mtu', where),
    socketPath: textAt(entry, 'socketPath', where),
    pciID: textAt(entry, 'pciID', where),
  });
}

function readIP(value: unknown, where: string, interfaces: number): CniIP {
  const entry = objectAt(value, where);
  const index = numberAt(entry, 'interface', where);
  if (index !== undefined && interfaces > 0 && index >= interfaces)
    throw wrong(`${where}.interface`, `there is no interface ${index}`);
  const [address, gateway] = [cidrAt(entry, 'address', where), addressAt(entry, 'gateway', where)];
  return defined<CniIP>({ address, gateway, interface: index });
}

function readRoute(value: unknown, where: string, isLatest: boolean): CniRoute {
  const entry = objectAt(value, where);
  const number = (name: string) => (isLatest ? numberAt(entry, name, where) : undefined);
  return defined<CniRoute>({
    dst: cidrAt(entry, 'dst', where),
    gw: addressAt(entry, 'gw', where),
    mtu: number('mtu'),
    advmss: number('advmss'),
    priority: number('priority'),
    table: number('table'),
    scope: number('scope'),
  });
}

function readDns(value: unknown, where: string): CniDns {
  const entry = objectAt(value, where);
  const texts = (name: string) => {
    const list = listAt(entry, name, where, (text, at) => {
      if (typeof text !== 'string') throw wrong(at, 'must be a string');
      return text;
    });
    return list.length === 0 ? undefined : list;
  };
  return defined<CniDns>({
    nameservers: texts('nameservers'),
    domain: textAt(entry, 'domain', where),
    search: texts('search'),
    options: texts('options'),
  });
}

type Lists = Pick<CniResult, 'interfaces' | 'ips' | 'routes'>;

const nonEmpty = (lists: Lists): Lists =>
  Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0));

function optional<T>(value: unknown, read: (value: unknown) => T): T | undefined {
  return value === undefined || value === null ? undefined : read(value);
}

function objectAt(value: unknown, where: string): Json {
  if (!isObject(value)) throw wrong(where, 'must be an object');
  return value;
}

function listAt<T>(json: Json, name: string, where: string, read: (entry: unknown, at: string) => T): T[] {
  const list = json[name] ?? [];
  if (!Array.isArray(list)) throw wrong(`${where}.${name}`, 'must be a list');
  return list.map((entry, index) => read(entry, `${where}.${name}[${index}]`));
}

/** '' says as little as no text. */
function textAt(json: Json, name: string, where: string): string | undefined {
  const text = json[name] ?? '';
  if (typeof text !== 'string') throw wrong(`${where}.${name}`, 'must be a string');
  return text === '' ? undefined : text;
}

function numberAt(json: Json, name: string, where: string): number | undefined {
  return optional(json[name], value => {
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value;
    throw wrong(`${where}.${name}`, 'must be a whole number');
  });
}

function cidrAt(json: Json, name: string, where: string): string {
  const text = textAt(json, name, where) ?? '';
  if (parseCIDR(text) === undefined) throw wrong(`${where}.${name}`, `${JSON.stringify(text)} is no CIDR`);
  return text;
}

function addressAt(json: Json, name: string, where: string): string | undefined {
  const text = textAt(json, name, where);
  if (text !== undefined && canonicalIP(text) === undefined)
    throw wrong(`${where}.${name}`, `${JSON.stringify(text)} is no IP address`);
  return text;
}

const wrong = (field: string, problem: string) => new CniError(CODE.undecodable, `${field}: ${problem}`);
