/** Checks of a Service. Source: pkg/apis/core/validation/validation.go ValidateService, ValidateServiceUpdate. */
import { familyOf, type IPFamily, parseCidr, specialAddress } from './addresses.ts';
import {
  duplicateValue,
  forbiddenField,
  found,
  invalidValue,
  labelProblem,
  notSupported,
  portProblem,
  requiredValue,
  subdomainProblem,
} from './field-errors.ts';
import type { ServiceObject, ServicePort, ServiceSpec } from './kinds.ts';
import { isHeadless, needsClusterIP } from './service-defaults.ts';
import type { StatusCause } from './status.ts';

export const invalidAddress = 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)';

/** Fields that take one of a few words: absent is fine, the defaults come first. */
const choices: readonly (readonly [keyof ServiceSpec, readonly string[]])[] = [
  ['type', ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort']],
  ['sessionAffinity', ['ClientIP', 'None']],
  ['externalTrafficPolicy', ['Cluster', 'Local']],
  ['internalTrafficPolicy', ['Cluster', 'Local']],
  ['ipFamilyPolicy', ['PreferDualStack', 'RequireDualStack', 'SingleStack']],
  ['trafficDistribution', ['PreferClose', 'PreferSameNode', 'PreferSameZone']],
];

function checkChoices(spec: ServiceSpec): StatusCause[] {
  return choices.flatMap(([field, supported]) => {
    const value = spec[field];
    const isFine = value === undefined || value === null || supported.includes(String(value));
    return isFine ? [] : [notSupported(`spec.${field}`, value, supported)];
  });
}

function checkTargetPort(field: string, target: ServicePort['targetPort']): StatusCause | undefined {
  if (typeof target !== 'string') return portProblem(field, target);
  if (target.length <= 15 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(target) && /[a-z]/.test(target)) return undefined;
  return invalidValue(field, target, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens ('-')");
}

function checkPort(spec: ServiceSpec, port: ServicePort, index: number): StatusCause[] {
  const field = `spec.ports[${index}]`;
  const name = port.name ?? '';
  const nameProblem = name === '' ? undefined : labelProblem(name);
  const isUnnamed = name === '' && (spec.ports?.length ?? 0) > 1;
  const mayHaveNodePort = spec.type === 'NodePort' || spec.type === 'LoadBalancer';
  return found(
    isUnnamed ? requiredValue(`${field}.name`) : undefined,
    nameProblem === undefined ? undefined : invalidValue(`${field}.name`, name, nameProblem),
    portProblem(`${field}.port`, port.port),
    ['TCP', 'UDP', 'SCTP'].includes(port.protocol ?? '')
      ? undefined
      : notSupported(`${field}.protocol`, port.protocol, ['SCTP', 'TCP', 'UDP']),
    isHeadless(spec) && port.targetPort === undefined
      ? undefined
      : checkTargetPort(`${field}.targetPort`, port.targetPort),
    port.nodePort === undefined || mayHaveNodePort
      ? undefined
      : forbiddenField(`${field}.nodePort`, "may not be used when `type` is 'ClusterIP'"),
  );
}

function checkPorts(spec: ServiceSpec): StatusCause[] {
  const ports = spec.ports ?? [];
  if (ports.length === 0) {
    return isHeadless(spec) || spec.type === 'ExternalName' ? [] : [requiredValue('spec.ports')];
  }
  const causes: StatusCause[] = [];
  const names = new Set<string>();
  const numbers = new Set<string>();
  for (const [index, port] of ports.entries()) {
    causes.push(...checkPort(spec, port, index));
    const name = port.name ?? '';
    if (name !== '' && names.has(name)) causes.push(duplicateValue(`spec.ports[${index}].name`, name));
    names.add(name);
    const number = `${port.protocol}/${port.port}`;
    const shown = { port: port.port, protocol: port.protocol };
    if (numbers.has(number)) causes.push(duplicateValue(`spec.ports[${index}]`, shown));
    numbers.add(number);
  }
  return causes;
}

function checkFamilies(spec: ServiceSpec, clusterFamilies: readonly IPFamily[]): StatusCause[] {
  const families = spec.ipFamilies ?? [];
  const isManualHeadless = isHeadless(spec) && Object.keys(spec.selector ?? {}).length === 0;
  const causes: StatusCause[] = [];
  if (!isManualHeadless && spec.ipFamilyPolicy === 'RequireDualStack' && clusterFamilies.length < 2) {
    const detail = 'this cluster is not configured for dual-stack services';
    causes.push(invalidValue('spec.ipFamilyPolicy', spec.ipFamilyPolicy, detail));
  }
  if (spec.ipFamilyPolicy === 'SingleStack' && families.length > 1) {
    const detail = 'must be RequireDualStack or PreferDualStack when multiple IP families are specified';
    causes.push(invalidValue('spec.ipFamilyPolicy', spec.ipFamilyPolicy, detail));
  }
  for (const [index, family] of families.entries()) {
    const field = `spec.ipFamilies[${index}]`;
    if (family !== 'IPv4' && family !== 'IPv6') causes.push(notSupported(field, family, ['IPv4', 'IPv6']));
    else if (!isManualHeadless && !clusterFamilies.includes(family)) {
      causes.push(invalidValue(field, family, 'not configured on this cluster'));
    }
  }
  return causes;
}

function checkClusterIPs(spec: ServiceSpec): StatusCause[] {
  const addresses = spec.clusterIPs ?? [];
  if (!needsClusterIP(spec)) {
    return addresses.length === 0
      ? []
      : [forbiddenField('spec.clusterIPs', 'may not be set for ExternalName services')];
  }
  if (isHeadless(spec)) {
    return spec.type === 'ClusterIP'
      ? []
      : [invalidValue('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${spec.type} services`)];
  }
  return addresses.flatMap((address, index) => {
    const field = `spec.clusterIPs[${index}]`;
    const family = familyOf(address);
    if (family === undefined) return [invalidValue(field, address, invalidAddress)];
    const expected = spec.ipFamilies?.[index];
    if (expected === undefined || expected === family) return [];
    return [invalidValue(field, address, `expected an ${expected} value as indicated by \`ipFamilies[${index}]\``)];
  });
}

function checkAddresses(spec: ServiceSpec): StatusCause[] {
  const external = (spec.externalIPs ?? []).flatMap((address, index) => {
    const field = `spec.externalIPs[${index}]`;
    const problem = familyOf(address) === undefined ? invalidAddress : specialAddress(address);
    return problem === undefined ? [] : [invalidValue(field, address, problem)];
  });
  const ranges = (spec.loadBalancerSourceRanges ?? []).flatMap((range, index) => {
    const detail = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)';
    // Blanks around it are allowed for the sake of old objects.
    return parseCidr(range.trim()) === undefined
      ? [invalidValue(`spec.loadBalancerSourceRanges[${index}]`, range, detail)]
      : [];
  });
  return [...external, ...ranges];
}

function checkAffinity(spec: ServiceSpec): StatusCause[] {
  const timeout = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds;
  if (spec.sessionAffinity !== 'ClientIP' || timeout === undefined) return [];
  const field = 'spec.sessionAffinityConfig.clientIP.timeoutSeconds';
  return timeout >= 1 && timeout <= 86_400
    ? []
    : [invalidValue(field, timeout, 'must be greater than 0 and less than 86400')];
}

function checkExternalName(spec: ServiceSpec): StatusCause[] {
  if (spec.type !== 'ExternalName') return [];
  const name = (spec.externalName ?? '').replace(/\.$/, '');
  if (name === '') return [requiredValue('spec.externalName')];
  const problem = subdomainProblem(name);
  return problem === undefined ? [] : [invalidValue('spec.externalName', name, problem)];
}

/** Everything that is wrong with a Service whose defaults are set. */
export function checkService(service: ServiceObject, clusterFamilies: readonly IPFamily[]): StatusCause[] {
  const { spec } = service;
  return [
    ...checkPorts(spec),
    ...checkChoices(spec),
    ...checkClusterIPs(spec),
    ...checkFamilies(spec, clusterFamilies),
    ...checkExternalName(spec),
    ...checkAffinity(spec),
    ...checkAddresses(spec),
  ];
}

/** What an update may not change: the primary cluster IP, unless the type goes to or from ExternalName. */
export function checkServiceUpdate(service: ServiceObject, old: ServiceObject): StatusCause[] {
  if (!needsClusterIP(service.spec) || !needsClusterIP(old.spec)) return [];
  const before = old.spec.clusterIPs?.[0];
  const after = service.spec.clusterIPs?.[0];
  if (before === undefined || before === after) return [];
  return [invalidValue('spec.clusterIPs[0]', service.spec.clusterIPs ?? [], 'may not change once set')];
}
