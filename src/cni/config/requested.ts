/** The addresses and the MAC that somebody wishes for a pod: the runtime, the configuration's `args`, CNI_ARGS, or the pod's annotations. Pure. */
import { canonicalIP } from '../../net/ip.ts';
import { type Fields, isObject, refuse } from './reader.ts';

/** Of the pod: addresses apart by commas, or one MAC. */
export const ANNOTATIONS = { ips: 'kproxy-ts.dev/ips', mac: 'kproxy-ts.dev/mac' } as const;
const ANNOTATION_CAPABILITY = 'io.kubernetes.cri.pod-annotations';

export interface Requested {
  /** Canonical, without prefix lengths. */
  readonly ips: readonly string[];
  /** Lower case. */
  readonly mac?: string;
}

/** All wishes for addresses together; of MACs the first of runtimeConfig, args, CNI_ARGS, annotation and configuration. @throws CniError 7 */
export function readRequested(fields: Fields, args: Readonly<Record<string, string>>): Requested {
  const runtime = fields.section('runtimeConfig');
  const ofArgs = fields.section('args').section('cni');
  const notes = annotations(runtime);
  const wishes: readonly (readonly [string, string])[] = [
    ...listed(runtime, 'ips'),
    ...listed(ofArgs, 'ips'),
    ...apart(args.IP, 'CNI_ARGS IP'),
    ...apart(notes(ANNOTATIONS.ips), `annotation ${ANNOTATIONS.ips}`),
  ];
  const ips = wishes.map(([text, path]) => ipOf(text) ?? refuse(path, `${JSON.stringify(text)} is no IP address`));
  const macs: readonly (readonly [string | undefined, string])[] = [
    [runtime.text('mac'), 'runtimeConfig.mac'],
    [ofArgs.text('mac'), 'args.cni.mac'],
    [args.MAC, 'CNI_ARGS MAC'],
    [notes(ANNOTATIONS.mac), `annotation ${ANNOTATIONS.mac}`],
    [fields.text('mac'), 'mac'],
  ];
  const [mac, path] = macs.find(([text]) => text !== undefined && text !== '') ?? [];
  return { ips: [...new Set(ips)], ...(mac === undefined || path === undefined ? {} : { mac: macOf(mac, path) }) };
}

function listed(fields: Fields, name: string): [string, string][] {
  return fields.texts(name).map((text, index) => [text, `${fields.path(name)}[${index}]`]);
}

function apart(text: string | undefined, path: string): [string, string][] {
  if (text === undefined || text.trim() === '') return [];
  return text.split(',').map(part => [part.trim(), path]);
}

function annotations(runtime: Fields): (key: string) => string | undefined {
  const all = runtime.raw(ANNOTATION_CAPABILITY);
  if (all === undefined) return () => undefined;
  if (!isObject(all)) return refuse(runtime.path(ANNOTATION_CAPABILITY), 'must be an object');
  return key => {
    const value = all[key];
    return value === undefined || typeof value === 'string' ? value : refuse(`annotation ${key}`, 'must be a string');
  };
}

function ipOf(text: string): string | undefined {
  const [address = '', bits] = text.split('/');
  if (bits !== undefined && !/^\d{1,3}$/.test(bits)) return undefined;
  return canonicalIP(address);
}

function macOf(text: string, path: string): string {
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (!/^(?:[0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) refuse(path, `${JSON.stringify(text)} is no Ethernet address`);
  const isOfOne = (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0 && mac !== '00:00:00:00:00:00';
  return isOfOne ? mac : refuse(path, `${text} is no address of one interface`);
}
