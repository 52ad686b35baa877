/**
 * Keys in the specification's spelling. Runtimes and the stock plugins decode JSON as Go does, which doesn't tell `BRIDGE` from `bridge`, so
 * configurations in the field have both. Pure.
 */
import { isObject, type Json } from './json.ts';

/** The keys that are known, and those within their values. A list's entries have the form of the list. */
export interface Spelling {
  readonly [key: string]: Spelling;
}

const plain = (...keys: readonly string[]): Spelling => Object.fromEntries(keys.map(key => [key, {}]));

const DNS = plain('nameservers', 'domain', 'search', 'options');
const ROUTES = plain('dst', 'gw', 'mtu', 'advmss', 'priority', 'table', 'scope');
const RANGES = plain('subnet', 'rangeStart', 'rangeEnd', 'gateway');
const ADDRESS_OF_FAMILY: Spelling = { ...plain('ip', 'gateway'), routes: ROUTES };
const ATTACHMENTS = plain('containerID', 'ifname');

/** Of every version's results. */
export const RESULT_SPELLING: Spelling = {
  ...plain('cniVersion'),
  interfaces: plain('name', 'mac', 'mtu', 'sandbox', 'socketPath', 'pciID'),
  ips: plain('version', 'address', 'gateway', 'interface'),
  routes: ROUTES,
  dns: DNS,
  ip4: ADDRESS_OF_FAMILY,
  ip6: ADDRESS_OF_FAMILY,
};

const BANDWIDTH = plain('ingressRate', 'ingressBurst', 'egressRate', 'egressBurst');

export const CONFIGURATION_SPELLING: Spelling = {
  ...plain('cniVersion', 'name', 'type', 'bridge', 'isGateway', 'isDefaultGateway', 'forceAddress', 'ipMasq'),
  ...plain('ipMasqBackend', 'mtu', 'hairpinMode', 'promiscMode', 'vlan', 'preserveDefaultVlan', 'macspoofchk'),
  ...plain('ipspoofchk', 'enabledad', 'disableContainerInterface', 'portIsolation', 'mac', 'kproxyRuntimeDir'),
  ...BANDWIDTH,
  vlanTrunk: plain('minID', 'maxID', 'id'),
  dns: DNS,
  ipam: {
    ...plain('type', 'resolvConf', 'dataDir'),
    ...RANGES,
    ranges: RANGES,
    routes: ROUTES,
  },
  args: { cni: plain('ips', 'mac') },
  runtimeConfig: {
    ...plain('ips', 'mac'),
    ipRanges: RANGES,
    portMappings: plain('hostPort', 'containerPort', 'protocol', 'hostIP'),
    bandwidth: BANDWIDTH,
    dns: plain('servers', 'searches', 'options'),
  },
  prevResult: RESULT_SPELLING,
  'cni.dev/valid-attachments': ATTACHMENTS,
  'cni.dev/attachments': ATTACHMENTS,
};

/** Of several spellings of one key the exact one counts, else the last. Unknown keys stay as they are. */
export function respelled(value: unknown, spelling: Spelling): unknown {
  if (Array.isArray(value)) return value.map(entry => respelled(entry, spelling));
  return isObject(value) ? respelledObject(value, spelling) : value;
}

export function respelledObject(value: Json, spelling: Spelling): Json {
  const canonical = new Map(Object.keys(spelling).map(key => [key.toLowerCase(), key]));
  const fields = new Map<string, unknown>();
  for (const [key, field] of Object.entries(value)) {
    const name = canonical.get(key.toLowerCase());
    if (name === undefined) fields.set(key, field);
    else if (name === key || !Object.hasOwn(value, name)) fields.set(name, respelled(field, spelling[name] ?? {}));
  }
  return Object.fromEntries(fields);
}
