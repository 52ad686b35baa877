/** The schema control: one player for each group of it. */
import { failed, type Result, skipped } from '../result.ts';
import { type Fields, isFields, messageOf, VectorError, type VectorFile } from '../vector-files.ts';
import { playCleanup, playMax, playSysctls } from './conntrack.ts';
import { playLocalReady, playNoLocalMetric } from './local-endpoints.ts';
import { playContainsIPv4Loopback, playNodePortAddresses } from './node-ports.ts';
import { playProxyHealth } from './proxy-health.ts';
import { playServiceHealthServer } from './service-health.ts';
import { playClusterIPByFamily, playServiceMap, playShouldSkipService } from './services.ts';

/** Plays one group; a check for each of its cases. */
export type Player = (group: Fields) => Promise<readonly Result[]> | readonly Result[];

/** A group of control.json is played by the product's own functions. */
export const PLAYERS: Readonly<Record<string, Player>> = {
  clusterIPByFamily: playClusterIPByFamily,
  shouldSkipService: playShouldSkipService,
  serviceMap: playServiceMap,
  nodePortAddresses: playNodePortAddresses,
  containsIPv4Loopback: playContainsIPv4Loopback,
  proxyHealth: playProxyHealth,
  conntrackCleanup: playCleanup,
  conntrackMax: playMax,
  conntrackSysctls: playSysctls,
  serviceHealthServer: playServiceHealthServer,
  localReadyEndpointsForHealthCheck: playLocalReady,
  noLocalEndpointsMetric: playNoLocalMetric,
};

/** Plays every group of a file. @throws VectorError when it has none */
export async function playControl({ file, fields }: VectorFile): Promise<readonly Result[]> {
  if (!isFields(fields.groups)) throw new VectorError(`${file}: has no 'groups', as its schema wants`);
  const results: Result[] = [];
  for (const [name, group] of Object.entries(fields.groups)) {
    results.push(...(await playGroup(name, isFields(group) ? group : {})));
  }
  return results;
}

async function playGroup(name: string, group: Fields): Promise<readonly Result[]> {
  const player = Object.hasOwn(PLAYERS, name) ? PLAYERS[name] : undefined;
  if (player === undefined) {
    const why = `control group ${name}: unknown to this runner`;
    return Array.from({ length: sizeOf(group) }, (_, index) => skipped(`${name} ${index + 1}`, why));
  }
  try {
    return (await player(group)).map(result => ({ ...result, name: `${name}: ${result.name}` }));
  } catch (error) {
    return [failed(name, messageOf(error))];
  }
}

/** The checks of a group whose structure nobody here knows: its longest list, at least one. */
function sizeOf(group: Fields): number {
  const lists = Object.values(group).filter(value => Array.isArray(value));
  return Math.max(1, ...lists.map(list => list.length));
}
