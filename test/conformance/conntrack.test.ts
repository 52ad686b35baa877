/**
 * vectors/conntrack.json: which flows kube-proxy deletes, and those that it should but forgets (see `knownDefects` there); and which
 * settings it makes.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parseDurationMs } from '../../src/config/duration.ts';
import { type ConntrackSettings, conntrackMax, conntrackSysctls } from '../../src/conntrack/settings.ts';
import { type ServiceFlow, staleJudge } from '../../src/conntrack/stale.ts';
import { claimKey } from '../../src/endpoints/claims.ts';
import { emptyModel, updateModel } from '../../src/endpoints/model.ts';
import type { Model } from '../../src/endpoints/types.ts';
import { service, slice, sliceEndpoint, snapshot } from '../fakes/objects.ts';

interface Vectors {
  readonly service: {
    readonly clusterIP: string;
    readonly externalIPs: readonly string[];
    readonly lbIPs: readonly string[];
    readonly ports: readonly {
      readonly name: string;
      readonly port: number;
      readonly protocol: 'TCP' | 'UDP' | 'SCTP';
      readonly nodePort?: number;
    }[];
  };
  readonly endpoints: readonly { readonly ip: string; readonly port: number; readonly serving: boolean }[];
  readonly flows: readonly {
    readonly proto: 'TCP' | 'UDP' | 'SCTP';
    readonly origDst: string | null;
    readonly origPort: number;
    readonly replySrc: string;
    readonly replyPort: number;
    readonly expectDeleted: boolean;
  }[];
}

interface SettingsVectors {
  readonly conntrackMax: {
    readonly cases: readonly {
      readonly maxPerCore: number | null;
      readonly min: number | null;
      readonly cores: number;
      readonly expect: number;
    }[];
  };
  readonly conntrackSysctls: {
    readonly cases: readonly {
      readonly config: Readonly<Record<string, string | number | boolean>>;
      readonly writes: readonly string[];
    }[];
  };
}

const file = new URL('vectors/conntrack.json', import.meta.url);
const { groups } = JSON.parse(readFileSync(file, 'utf8'));
const cases: Vectors = groups.conntrackCleanup;
const { conntrackMax: maxVectors, conntrackSysctls: sysctlVectors }: SettingsVectors = groups;
const node = { name: 'node-a', zone: '' };
/** The vectors leave open which of the node's addresses it is. */
const nodeAddress = '192.0.2.11';

function modelOf(endpoints: Vectors['endpoints']): Model {
  const { clusterIP, externalIPs, lbIPs, ports } = cases.service;
  const snap = snapshot(
    [
      service({
        clusterIPs: [clusterIP],
        externalIPs: [...externalIPs],
        loadBalancerIngress: lbIPs.map(ip => ({ ip, ipMode: 'VIP' as const })),
        ports: ports.map(({ nodePort = 0, ...port }) => ({ ...port, nodePort })),
      }),
    ],
    [
      slice({
        ports: ports.map(({ name, protocol }) => ({ name, protocol, port: endpoints[0]?.port ?? 9090 })),
        endpoints: endpoints.map(({ ip, serving }) => sliceEndpoint(ip, { ready: serving, serving })),
      }),
    ],
  );
  return updateModel(emptyModel('IPv4', node), snap, snap.services.keys(), node);
}

const flowOf = ({ proto, origDst, origPort, replySrc, replyPort }: Vectors['flows'][number]): ServiceFlow => ({
  protocol: proto,
  destination: origDst ?? nodeAddress,
  destinationPort: origPort,
  replySource: replySrc,
  replyPort,
  zone: 0,
});
const isOurs = ({ proto, origPort }: Vectors['flows'][number]) => proto === 'UDP' && origPort !== 3000;

describe('stale flows', () => {
  test.each(cases.flows)('$proto $origDst $origPort → $replySrc $replyPort: $expectDeleted', vector => {
    const isStale = staleJudge(modelOf(cases.endpoints), { takesNodePorts: address => address === nodeAddress });
    expect(isStale(flowOf(vector))).toBe(vector.expectDeleted);
  });

  test('a Service without serving endpoints: all of its UDP flows (kubernetes#139628)', () => {
    const isStale = staleJudge(modelOf([]));
    expect(cases.flows.filter(vector => isStale(flowOf(vector)))).toEqual(cases.flows.filter(isOurs));
  });

  test('a Service that was deleted: its UDP flows that were sent on (kubernetes#141371)', () => {
    const lost = new Set([
      ...['172.30.1.1', '1.2.3.4', '192.168.99.100'].map(ip => claimKey({ ip, port: 8000, protocol: 'UDP' })),
      claimKey({ ip: undefined, port: 32_000, protocol: 'UDP' }),
    ]);
    const isStale = staleJudge(emptyModel('IPv4', node), { lost });
    expect(cases.flows.filter(vector => isStale(flowOf(vector)))).toEqual(cases.flows.filter(isOurs));
  });
});

describe('nf_conntrack_max', () => {
  test.each(maxVectors.cases)('$maxPerCore a core, at least $min, $cores cores: $expect', vector => {
    const { maxPerCore, min, cores } = vector;
    const settings = { ...(maxPerCore === null ? {} : { maxPerCore }), ...(min === null ? {} : { min }) };
    expect(conntrackMax(settings, cores)).toBe(vector.expect);
  });
});

describe('settings', () => {
  test.each(sysctlVectors.cases)('$config: $writes', ({ config, writes }) => {
    const entries = Object.entries(config).map(([name, value]) =>
      name.endsWith('Timeout') ? [`${name}Ms`, parseDurationMs(String(value))] : [name, value],
    );
    const settings: Partial<ConntrackSettings> = Object.fromEntries(entries);
    const made = conntrackSysctls(settings, 4).map(({ name, value }) =>
      name === 'nf_conntrack_max' ? name : `${name}=${value}`,
    );
    expect(made).toEqual(writes);
  });
});
