/** Groups about the connection table: which flows are stale, and which of the kernel's settings are made. */
import { parseDurationMs } from '../../../../src/config/duration.ts';
import { type ConntrackSettings, conntrackMax, conntrackSysctls } from '../../../../src/conntrack/settings.ts';
import { staleJudge } from '../../../../src/conntrack/stale.ts';
import type { Protocol } from '../../../../src/watch/objects.ts';
import { compared, type Result } from '../result.ts';
import type { Fields } from '../vector-files.ts';
import { casesOf } from './cases.ts';
import { modelOf, serviceObject, sliceObject } from './model.ts';

interface CleanupGroup {
  readonly service: {
    readonly clusterIP: string;
    readonly externalIPs?: readonly string[];
    readonly lbIPs?: readonly string[];
    readonly ports: readonly { readonly name: string; readonly protocol: Protocol }[];
  };
  readonly endpoints: readonly { readonly ip: string; readonly port: number; readonly serving: boolean }[];
}

interface Flow {
  readonly proto: Protocol;
  /** null: an address of the node. */
  readonly origDst: string | null;
  readonly origPort: number;
  readonly replySrc: string;
  readonly replyPort: number;
  readonly expectDeleted: boolean;
}

const NODE_IPS = { IPv4: '192.0.2.11', IPv6: '2001:db8::11' } as const;
const SERVICE = 'web';

export function playCleanup(group: Fields): Result[] {
  const { service, endpoints } = group as unknown as CleanupGroup;
  const { lbIPs = [], ...spec } = service;
  const family = service.clusterIP.includes(':') ? 'IPv6' : 'IPv4';
  const nodeIP = NODE_IPS[family];
  // Every port of the Service has all endpoints; a slice has one port number for all of its endpoints.
  const slices = endpoints.map(({ ip, port, serving }, index) => {
    const ports = service.ports.map(({ name, protocol }) => ({ name, protocol, port }));
    const conditions = { ready: serving, serving, terminating: !serving };
    return sliceObject(
      SERVICE,
      { name: `${SERVICE}-${index}`, endpoints: [{ addresses: [ip], conditions }], ports },
      family,
    );
  });
  const model = modelOf([serviceObject(SERVICE, { type: 'LoadBalancer', ...spec }, lbIPs), ...slices], 'node', family);
  const isStale = staleJudge(model, { takesNodePorts: address => address === nodeIP });
  return casesOf<Flow>(group, 'flows').map(flow => {
    const { proto: protocol, origDst, origPort: destinationPort, replySrc: replySource, replyPort } = flow;
    const destination = origDst ?? nodeIP;
    const seen = isStale({ protocol, destination, destinationPort, replySource, replyPort, zone: 0 });
    return compared(
      `${protocol} to ${destination}:${destinationPort} from ${replySource}:${replyPort}`,
      flow.expectDeleted,
      seen,
    );
  });
}

interface MaxCase {
  readonly maxPerCore: number | null;
  readonly min: number | null;
  readonly cores: number;
  readonly expect: number;
}

export function playMax(group: Fields): Result[] {
  return casesOf<MaxCase>(group).map(({ maxPerCore, min, cores, expect }) => {
    const settings = { ...(maxPerCore === null ? {} : { maxPerCore }), ...(min === null ? {} : { min }) };
    return compared(`${maxPerCore} per core, at least ${min}, ${cores} cores`, expect, conntrackMax(settings, cores));
  });
}

interface SysctlCase {
  readonly config: Readonly<Record<string, unknown>>;
  readonly writes: readonly string[];
}

/** Any number of cores: the cases don't say what the value for all of them is. */
const CORES = 4;

export function playSysctls(group: Fields): Result[] {
  return casesOf<SysctlCase>(group).map(({ config, writes }) => {
    const seen = conntrackSysctls(settingsOf(config), CORES).map(({ name, value }) => {
      return writes.includes(name) ? name : `${name}=${value}`;
    });
    return compared(JSON.stringify(config), writes.toSorted(), seen.toSorted());
  });
}

/** The section `conntrack` of a configuration as the product keeps it: durations in milliseconds. What is absent is absent. */
function settingsOf(config: SysctlCase['config']): Partial<ConntrackSettings> {
  const entries = Object.entries(config).map(([name, value]) => {
    if (typeof value !== 'string') return [name, value] as const;
    const ms = parseDurationMs(value);
    if (ms === undefined) throw new TypeError(`${name}: not a duration: ${value}`);
    return [`${name}Ms`, ms] as const;
  });
  return Object.fromEntries(entries) as Partial<ConntrackSettings>;
}
