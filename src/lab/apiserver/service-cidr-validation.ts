/**
 * Checks of a ServiceCIDR. Source: ValidateServiceCIDR and ValidateServiceCIDRUpdate of pkg/apis/networking/validation. Cluster IPs are
 * given out of the ranges that the server was started with only, whatever these objects say.
 */
import { familyOf, formatAddress, parseCidr } from './addresses.ts';
import { found, invalidValue, requiredValue } from './field-errors.ts';
import type { ServiceCIDRObject } from './kinds.ts';
import { isSameJson } from './objects.ts';
import type { StatusCause } from './status.ts';

function isCanonical(text: string): boolean {
  const cidr = parseCidr(text);
  return cidr !== undefined && text === `${formatAddress(cidr.family, cidr.base)}/${text.split('/')[1]}`;
}

export function checkServiceCIDR({ spec }: ServiceCIDRObject): StatusCause[] {
  const { cidrs = [] } = spec;
  const families = new Set(cidrs.map(text => familyOf(text.split('/')[0] ?? '')));
  return found(
    cidrs.length === 0 ? requiredValue('spec.cidrs', 'at least one CIDR required') : undefined,
    cidrs.length > 2 ? invalidValue('spec.cidrs', cidrs, 'may only hold up to 2 values') : undefined,
    cidrs.length === 2 && families.size < 2
      ? invalidValue(
          'spec.cidrs',
          cidrs,
          'may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64',
        )
      : undefined,
    ...cidrs.map((text, index) =>
      isCanonical(text)
        ? undefined
        : invalidValue(`spec.cidrs[${index}]`, text, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    ),
  );
}

export function checkServiceCIDRUpdate(object: ServiceCIDRObject, old: ServiceCIDRObject): StatusCause[] {
  const isSame = isSameJson(object.spec.cidrs, old.spec.cidrs);
  return isSame ? [] : [invalidValue('spec.cidrs', object.spec.cidrs, 'field is immutable')];
}
