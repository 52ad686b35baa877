/** `runtimeConfig.portMappings` and bandwidth. Pure. Source: CONVENTIONS.md of the CNI specification. */
import { canonicalIP } from '../../net/ip.ts';
import type { Bandwidth, HostPort, Protocol } from '../types.ts';
import { Fields, refuse } from './reader.ts';

const PORT = { min: 1, max: 65_535 };
const PROTOCOLS: ReadonlySet<string> = new Set(['tcp', 'udp', 'sctp']);

/** @throws CniError 7, before anything is done for any of them */
export function readPortMappings(runtime: Fields): HostPort[] {
  return runtime.list('portMappings', (value, path) => {
    const entry = Fields.of(value, path);
    const protocol = (entry.text('protocol') ?? '').toLowerCase();
    if (!PROTOCOLS.has(protocol)) refuse(`${path}.protocol`, 'must be tcp, udp or sctp');
    return {
      hostIP: hostIPOf(entry, path),
      hostPort: entry.integer('hostPort', PORT) ?? refuse(`${path}.hostPort`, 'is missing'),
      containerPort: entry.integer('containerPort', PORT) ?? refuse(`${path}.containerPort`, 'is missing'),
      protocol: protocol as Protocol,
    };
  });
}

function hostIPOf(entry: Fields, path: string): string {
  const text = entry.text('hostIP') ?? '';
  if (text === '') return '';
  return canonicalIP(text) ?? refuse(`${path}.hostIP`, `${JSON.stringify(text)} is no IP address`);
}

const RATES = ['ingressRate', 'egressRate'] as const;
const BURSTS = { ingressRate: 'ingressBurst', egressRate: 'egressBurst' } as const;
const NUMBER = { min: 0, max: Number.MAX_SAFE_INTEGER };

/** Of the configuration itself if it has any, else of `runtimeConfig`. Undefined = no limit. @throws CniError 7 */
export function readBandwidth(fields: Fields): Bandwidth | undefined {
  const own = limits(fields);
  const runtime = fields.section('runtimeConfig').section('bandwidth');
  const wanted = own ?? limits(runtime);
  if (wanted === undefined || (wanted.ingressRate === 0 && wanted.egressRate === 0)) return undefined;
  return wanted;
}

function limits(fields: Fields): Bandwidth | undefined {
  const names = [...RATES, ...Object.values(BURSTS)];
  if (names.every(name => fields.raw(name) === undefined)) return undefined;
  const read = (name: string) => fields.integer(name, NUMBER) ?? 0;
  for (const rate of RATES) {
    const burst = BURSTS[rate];
    if (read(rate) !== 0 && read(burst) === 0) refuse(fields.path(burst), `is missing beside ${rate}`);
    if (read(rate) === 0 && read(burst) !== 0) refuse(fields.path(rate), `is missing beside ${burst}`);
  }
  return {
    ingressRate: read('ingressRate'),
    ingressBurst: read('ingressBurst'),
    egressRate: read('egressRate'),
    egressBurst: read('egressBurst'),
  };
}
