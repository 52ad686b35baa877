/**
 * What the API server fills in and takes away in a Service, before it is checked.
 * Source: pkg/apis/core/v1/defaults.go SetDefaults_Service; pkg/registry/core/service/{strategy,storage}.
 */
import { familyOf, type IPFamily } from './addresses.ts';
import type { ServiceObject, ServicePort, ServiceSpec } from './kinds.ts';
import { isSameJson } from './objects.ts';

/** Seconds: core/v1 DefaultClientIPServiceAffinitySeconds. */
const defaultAffinitySeconds = 10_800;

export function isHeadless(spec: ServiceSpec): boolean {
  return spec.clusterIP === 'None';
}

export function needsClusterIP(spec: ServiceSpec): boolean {
  return spec.type !== 'ExternalName';
}

export function needsNodePorts(spec: ServiceSpec): boolean {
  return spec.type === 'NodePort' || (spec.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts !== false);
}

function mayHaveNodePorts(spec: ServiceSpec): boolean {
  return spec.type === 'NodePort' || spec.type === 'LoadBalancer';
}

export function needsHealthCheckNodePort(spec: ServiceSpec): boolean {
  return spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
}

function isExternallyAccessible(spec: ServiceSpec): boolean {
  return mayHaveNodePorts(spec) || (spec.type === 'ClusterIP' && (spec.externalIPs?.length ?? 0) > 0);
}

function setPortDefaults(port: ServicePort): void {
  port.protocol ??= 'TCP';
  if (port.targetPort === undefined || port.targetPort === '') port.targetPort = port.port;
  if (port.nodePort === 0) port.nodePort = undefined;
}

function setSpecDefaults(spec: ServiceSpec): void {
  spec.type ??= 'ClusterIP';
  spec.sessionAffinity ??= 'None';
  if (spec.sessionAffinity === 'ClientIP') {
    spec.sessionAffinityConfig ??= {};
    spec.sessionAffinityConfig.clientIP ??= {};
    spec.sessionAffinityConfig.clientIP.timeoutSeconds ??= defaultAffinitySeconds;
  } else {
    spec.sessionAffinityConfig = undefined;
  }
  for (const port of spec.ports ?? []) setPortDefaults(port);
  if (spec.type !== 'ExternalName') spec.internalTrafficPolicy ??= 'Cluster';
  if (isExternallyAccessible(spec)) spec.externalTrafficPolicy ??= 'Cluster';
  if (spec.type === 'LoadBalancer') spec.allocateLoadBalancerNodePorts ??= true;
}

/** A change of the singular field wins over the plural one that the client merely sent back. */
function normaliseClusterIPs(spec: ServiceSpec, old: ServiceSpec | undefined): void {
  if (spec.clusterIP === '') spec.clusterIP = undefined;
  if (spec.clusterIPs?.length === 0) spec.clusterIPs = undefined;
  const isPluralStale = old !== undefined && isSameJson(spec.clusterIPs, old.clusterIPs);
  if (spec.clusterIP === undefined) {
    if (old?.clusterIP !== undefined && isPluralStale) spec.clusterIPs = undefined;
    spec.clusterIP = spec.clusterIPs?.[0];
  } else if (spec.clusterIPs === undefined || (isPluralStale && spec.clusterIP !== old.clusterIP)) {
    spec.clusterIPs = [spec.clusterIP];
  }
}

/** Fields of the old type that the client merely sent back don't stay. */
function dropFieldsOfOldType(spec: ServiceSpec, old: ServiceSpec): void {
  if (needsClusterIP(old) && !needsClusterIP(spec)) {
    if (isSameJson(spec.clusterIPs, old.clusterIPs)) [spec.clusterIP, spec.clusterIPs] = [undefined, undefined];
    if (isSameJson(spec.ipFamilies, old.ipFamilies)) [spec.ipFamilies, spec.ipFamilyPolicy] = [undefined, undefined];
    spec.internalTrafficPolicy = undefined;
  }
  if (mayHaveNodePorts(old) && !mayHaveNodePorts(spec)) {
    const held = new Set(old.ports?.map(port => port.nodePort));
    for (const port of spec.ports ?? []) if (held.has(port.nodePort)) port.nodePort = undefined;
  }
  if (isExternallyAccessible(old) && !isExternallyAccessible(spec)) spec.externalTrafficPolicy = undefined;
  if (needsHealthCheckNodePort(old) && !needsHealthCheckNodePort(spec)) spec.healthCheckNodePort = undefined;
  if (old.type === 'LoadBalancer' && spec.type !== 'LoadBalancer') spec.allocateLoadBalancerNodePorts = undefined;
}

/** What was allocated stays when the client leaves it out of an update. */
function keepAllocated(spec: ServiceSpec, old: ServiceSpec): void {
  if (needsClusterIP(old) && needsClusterIP(spec) && spec.clusterIP === undefined) {
    spec.clusterIP = old.clusterIP;
    spec.clusterIPs = old.clusterIPs;
  }
  if (needsNodePorts(old) && needsNodePorts(spec)) {
    const used = new Set(spec.ports?.map(port => port.nodePort));
    const byName = new Map(old.ports?.map(port => [port.name ?? '', port.nodePort]));
    for (const port of spec.ports ?? []) {
      const before = byName.get(port.name ?? '');
      if (port.nodePort !== undefined || before === undefined || used.has(before)) continue;
      port.nodePort = before;
      used.add(before);
    }
  }
  if (needsHealthCheckNodePort(old) && needsHealthCheckNodePort(spec)) {
    spec.healthCheckNodePort ??= old.healthCheckNodePort;
  }
}

const otherFamily: Readonly<Record<string, IPFamily>> = { IPv4: 'IPv6', IPv6: 'IPv4' };

/** Headless without a selector may name families that the cluster doesn't have: its endpoints are the user's business. */
function setFamiliesOfManualHeadless(spec: ServiceSpec, first: IPFamily): void {
  spec.ipFamilyPolicy ??= 'RequireDualStack';
  spec.ipFamilies ??= [first];
  const [family = first] = spec.ipFamilies;
  const second = otherFamily[family];
  if (spec.ipFamilyPolicy !== 'SingleStack' && spec.ipFamilies.length === 1 && second !== undefined) {
    spec.ipFamilies = [family, second];
  }
}

/** ipFamilies and ipFamilyPolicy from what is given and what the cluster has. */
function setFamilies(spec: ServiceSpec, old: ServiceSpec | undefined, clusterFamilies: readonly IPFamily[]): void {
  const first = clusterFamilies[0] ?? 'IPv4';
  if (!needsClusterIP(spec)) return;
  if (isHeadless(spec) && Object.keys(spec.selector ?? {}).length === 0) {
    setFamiliesOfManualHeadless(spec, first);
    return;
  }
  const addresses = isHeadless(spec) ? [] : (spec.clusterIPs ?? []);
  const isDouble = addresses.length > 1 || (spec.ipFamilies?.length ?? 0) > 1;
  spec.ipFamilyPolicy ??= isDouble ? 'RequireDualStack' : 'SingleStack';
  if (spec.ipFamilies === undefined || spec.ipFamilies.length === 0) {
    const given = addresses.map(familyOf).filter(family => family !== undefined);
    spec.ipFamilies = given.length > 0 ? given : [first];
  }
  if (spec.ipFamilyPolicy === 'SingleStack') {
    const isDowngrade = old !== undefined && old.ipFamilyPolicy !== 'SingleStack';
    if (isDowngrade) [spec.ipFamilies, spec.clusterIPs] = [spec.ipFamilies.slice(0, 1), spec.clusterIPs?.slice(0, 1)];
  } else if (spec.ipFamilies.length === 1) {
    const second = otherFamily[spec.ipFamilies[0] ?? ''];
    if (second !== undefined && clusterFamilies.includes(second)) spec.ipFamilies = [...spec.ipFamilies, second];
  }
}

/** Completes a Service in place; `old` is the stored one of an update. */
export function setServiceDefaults(
  service: ServiceObject,
  old: ServiceObject | undefined,
  clusterFamilies: readonly IPFamily[],
): void {
  service.spec ??= {};
  const { spec } = service;
  normaliseClusterIPs(spec, old?.spec);
  spec.type ??= 'ClusterIP';
  if (old !== undefined) {
    dropFieldsOfOldType(spec, old.spec);
  }
  setSpecDefaults(spec);
  if (old !== undefined) keepAllocated(spec, old.spec);
  setFamilies(spec, old?.spec, clusterFamilies);
}
