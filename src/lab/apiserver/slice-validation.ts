/** Checks of an EndpointSlice. Source: pkg/apis/discovery/validation/validation.go. */
import { familyOf, specialAddress } from './addresses.ts';
import {
  duplicateValue,
  found,
  invalidValue,
  labelProblem,
  notSupported,
  portProblem,
  requiredValue,
  subdomainProblem,
  tooMany,
} from './field-errors.ts';
import type { SliceEndpoint, SliceObject, SlicePort } from './kinds.ts';
import { invalidAddress } from './service-validation.ts';
import type { StatusCause } from './status.ts';

const maxEndpoints = 1000;
const maxAddresses = 100;
const maxPorts = 20_000;
const addressTypes = ['FQDN', 'IPv4', 'IPv6'];

function addressProblem(addressType: string, address: string): string | undefined {
  if (addressType === 'FQDN') return subdomainProblem(address);
  const family = familyOf(address);
  if (family === undefined) return invalidAddress;
  if (family !== addressType) return `must be an ${addressType} address`;
  return specialAddress(address);
}

function checkEndpoint(slice: SliceObject, endpoint: SliceEndpoint, index: number): StatusCause[] {
  const field = `endpoints[${index}]`;
  const addresses = endpoint.addresses ?? [];
  const bad = addresses.flatMap((address, position) => {
    const problem = addressProblem(slice.addressType, address);
    return problem === undefined ? [] : [invalidValue(`${field}.addresses[${position}]`, address, problem)];
  });
  const nodeProblem = endpoint.nodeName === undefined ? undefined : subdomainProblem(endpoint.nodeName);
  const hostProblem = endpoint.hostname === undefined ? undefined : labelProblem(endpoint.hostname);
  return found(
    addresses.length === 0 ? requiredValue(`${field}.addresses`, 'must contain at least 1 address') : undefined,
    addresses.length > maxAddresses ? tooMany(`${field}.addresses`, addresses.length, maxAddresses) : undefined,
    ...bad,
    nodeProblem === undefined ? undefined : invalidValue(`${field}.nodeName`, endpoint.nodeName, nodeProblem),
    hostProblem === undefined ? undefined : invalidValue(`${field}.hostname`, endpoint.hostname, hostProblem),
  );
}

function checkPort(port: SlicePort, index: number, names: ReadonlySet<string>): StatusCause[] {
  const field = `ports[${index}]`;
  const name = port.name ?? '';
  const nameProblem = name === '' ? undefined : labelProblem(name);
  return found(
    names.has(name) ? duplicateValue(field, name) : undefined,
    nameProblem === undefined ? undefined : invalidValue(`${field}.name`, name, nameProblem),
    ['TCP', 'UDP', 'SCTP'].includes(port.protocol ?? '')
      ? undefined
      : notSupported(`${field}.protocol`, port.protocol, ['SCTP', 'TCP', 'UDP']),
    port.port === undefined || port.port === null ? undefined : portProblem(`${field}.port`, port.port),
  );
}

/** Everything that is wrong with an EndpointSlice whose defaults are set. */
export function checkSlice(slice: SliceObject): StatusCause[] {
  if (slice.addressType === '') return [requiredValue('addressType')];
  if (!addressTypes.includes(slice.addressType)) {
    return [notSupported('addressType', slice.addressType, addressTypes)];
  }
  const endpoints = slice.endpoints ?? [];
  if (endpoints.length > maxEndpoints) return [tooMany('endpoints', endpoints.length, maxEndpoints)];
  const ports = slice.ports ?? [];
  if (ports.length > maxPorts) return [tooMany('ports', ports.length, maxPorts)];
  const names = new Set<string>();
  const portCauses = ports.flatMap((port, index) => {
    const causes = checkPort(port, index, names);
    names.add(port.name ?? '');
    return causes;
  });
  return [...endpoints.flatMap((endpoint, index) => checkEndpoint(slice, endpoint, index)), ...portCauses];
}

/** The address type of a slice is fixed. */
export function checkSliceUpdate(slice: SliceObject, old: SliceObject): StatusCause[] {
  return slice.addressType === old.addressType
    ? []
    : [invalidValue('addressType', slice.addressType, 'field is immutable')];
}
