/** `ipam.routes`. Pure. */
import { canonicalCIDR } from '../../net/cidr.ts';
import { canonicalIP } from '../../net/ip.ts';
import type { CniRoute } from '../types.ts';
import { Fields, refuse } from './reader.ts';

const WORD = { min: 0, max: 0xffff_ffff };
const NUMBERS = { mtu: WORD, advmss: WORD, priority: WORD, table: WORD, scope: { min: 0, max: 255 } } as const;

/** @throws CniError 7 */
export function readRoutes(ipam: Fields): CniRoute[] {
  return ipam.list('routes', (value, path) => {
    const entry = Fields.of(value, path);
    const dst = canonicalCIDR(entry.text('dst') ?? '') ?? refuse(`${path}.dst`, 'must be a CIDR');
    const gw = entry.text('gw') ?? '';
    const gateway = gw === '' ? undefined : (canonicalIP(gw) ?? refuse(`${path}.gw`, 'must be an IP address'));
    const numbers = Object.entries(NUMBERS).flatMap(([name, limits]) => {
      const number = entry.integer(name, limits);
      return number === undefined ? [] : [[name, number] as const];
    });
    return { dst, ...(gateway === undefined ? {} : { gw: gateway }), ...Object.fromEntries(numbers) };
  });
}
