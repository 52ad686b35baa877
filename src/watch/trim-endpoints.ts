/**
 * core/v1 Endpoints as the EndpointSlices that they would be: one slice for each subset and family, so that nothing behind
 * the border knows of the old kind. Source: core/v1 Endpoints; deprecated since Kubernetes 1.33, but served.
 */
import { ipFamily } from '../net/ip.ts';
import { addressOf, childOf, compactOf, EMPTY, type Fields, mapItems, textOf } from './fields.ts';
import type { EndpointSlice, IPFamily, SliceEndpoint } from './objects.ts';
import { type EndpointTrimming, HEADLESS_LABEL, PLAIN_TRIMMING, type Trimmed, trimNamed, withPodName } from './trim.ts';
import { slicePortOf } from './trim-ports.ts';

const FAMILIES: readonly IPFamily[] = ['IPv4', 'IPv6'];

/** Endpoints know no terminating pods: those that leave are gone from both lists. */
function endpointReader(isReady: boolean, trimming: EndpointTrimming): (address: Fields) => SliceEndpoint | undefined {
  return address => {
    const ip = addressOf(address, 'ip', address.raw.ip);
    if (ip === undefined) return undefined;
    const endpoint = {
      addresses: [ip],
      ready: isReady,
      serving: isReady,
      terminating: false,
      nodeName: textOf(address, 'nodeName'),
      zone: '',
      hostname: textOf(address, 'hostname'),
      nodeHints: EMPTY,
      zoneHints: EMPTY,
    };
    return withPodName(endpoint, address, trimming);
  };
}

/** Trims Endpoints. They belong to the Service of the same name; without addresses there is no slice. */
export function trimEndpoints(raw: unknown, trimming = PLAIN_TRIMMING): Trimmed<readonly EndpointSlice[]> {
  return trimNamed('Endpoints', raw, (fields, { namespace, name, fields: metadata }) => {
    const isHeadless = HEADLESS_LABEL in childOf(metadata, 'labels').raw;
    let index = 0;
    const perSubset = mapItems(fields, 'subsets', subset => {
      const ready = mapItems(subset, 'addresses', endpointReader(true, trimming));
      const endpoints = [...ready, ...mapItems(subset, 'notReadyAddresses', endpointReader(false, trimming))];
      const ports = mapItems(subset, 'ports', slicePortOf);
      const number = index;
      index += 1;
      return FAMILIES.map((family): EndpointSlice => {
        const own = endpoints.filter(({ addresses }) => ipFamily(addresses[0] ?? '') === family);
        // No object of the API has a # in its name, so that these names are nobody else's.
        const sliceName = `${name}#${number}-${family}`;
        const what = { namespace, name: sliceName, serviceName: name, family, isHeadless };
        // The object's time is that of its last change, which may have been another subset's.
        return { ...what, changeTriggerMs: 0, ports, endpoints: compactOf(own) };
      });
    });
    return perSubset.flat().filter(({ endpoints }) => endpoints.length > 0);
  });
}
