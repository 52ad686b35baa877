import type { DnsConfiguration } from './dns-fields.ts';

/** Lines about what is right field by field, and can't be meant. */
export function dnsWarnings({ enabled, listen, service, zones, fallthrough }: DnsConfiguration): string[] {
  if (!enabled) return [];
  const strange = fallthrough.filter(zone => !zones.includes(zone));
  const nested = zones.filter(zone => zones.some(other => zone.endsWith(`.${other}`)));
  return [
    ...(listen.length === 0 && service === ''
      ? ['names are answered nowhere: neither dns.listen nor dns.service']
      : []),
    ...nested.map(zone => `dns.zones: ${zone} is inside another zone; each has names of its own, as svc.${zone}`),
    ...strange.map(zone => `dns.fallthrough: ${zone} is none of dns.zones, and has no effect`),
  ];
}
