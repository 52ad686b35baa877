/** What ADD answers, in the form of CNI 1.1.0. Pure. */
import type { NetworkConfig } from '../config/network.ts';
import type { Attachment } from '../ipam/attachment.ts';
import type { CniDns, CniInterface, CniIP, CniResult, CniRoute } from '../types.ts';
import type { Attached } from '../wiring/specs.ts';

/** Of an interface that we made; what somebody before us made stays in front of it. */
export function linkResult(
  config: NetworkConfig,
  { addresses }: Attachment,
  attached: Attached,
  dns?: CniDns,
): CniResult {
  const before = config.prevResult;
  const shift = before?.interfaces?.length ?? 0;
  const ips: readonly CniIP[] = addresses.map(each => ({ ...each, interface: shift + attached.podInterface }));
  return merged(before, { interfaces: attached.interfaces, ips, routes: attached.routes, dns });
}

/** For the plugin that makes the interface. */
export function addressesResult(config: NetworkConfig, { addresses }: Attachment, dns?: CniDns): CniResult {
  return merged(undefined, { interfaces: [], ips: addresses, routes: config.routes, dns });
}

interface Parts {
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly CniIP[];
  readonly routes: readonly CniRoute[];
  readonly dns: CniDns | undefined;
}

function merged(before: CniResult | undefined, { interfaces, ips, routes, dns = before?.dns }: Parts): CniResult {
  return {
    interfaces: [...(before?.interfaces ?? []), ...interfaces],
    ips: [...(before?.ips ?? []), ...ips],
    routes: [...(before?.routes ?? []), ...routes],
    ...(dns === undefined ? {} : { dns }),
  };
}
