/** The plugin `loopback`: brings `lo` of a pod up. It needs no agent. */
import type { Configuration } from '../spec/configuration.ts';
import { CniError, type CniResult, CODE } from '../types.ts';
import { type Call, failureOf } from './call.ts';
import type { Host, LoopbackState } from './host.ts';
import { netnsIfThere, requireNetns } from './netns.ts';

const NAME = 'loopback';

export function isLoopback({ program }: Pick<Host, 'program'>, { type }: Pick<Configuration, 'type'>): boolean {
  return type === NAME || program === NAME || program.endsWith(`/${NAME}`);
}

/** The result of an ADD. @throws CniError */
export function loopback(call: Call): CniResult | undefined {
  const { host, verb, environment } = call;
  if (verb === 'GC' || verb === 'STATUS') return undefined;
  if (verb === 'DEL') {
    if (netnsIfThere(host, environment.netns).path !== '') setLoopback(call, false);
    return undefined;
  }
  requireNetns(host, environment.netns);
  if (verb === 'ADD') return add(call);
  if (!setLoopback(call).isUp) throw new CniError(CODE.kernel, `lo is down in ${environment.netns}`);
  return undefined;
}

function add(call: Call): CniResult {
  const { hasIPv6 } = setLoopback(call, true);
  const { prevResult } = call.configuration.config;
  if (prevResult !== undefined) return prevResult as CniResult;
  const addresses = hasIPv6 ? ['127.0.0.1/8', '::1/128'] : ['127.0.0.1/8'];
  return {
    interfaces: [{ name: 'lo', mac: '00:00:00:00:00:00', sandbox: call.environment.netns }],
    ips: addresses.map(address => ({ address, interface: 0 })),
  };
}

function setLoopback({ host, environment: { netns } }: Call, isUp?: boolean): LoopbackState {
  try {
    return host.loopback(netns, isUp);
  } catch (error) {
    throw failureOf(CODE.kernel, `lo of ${netns}`, error);
  }
}
