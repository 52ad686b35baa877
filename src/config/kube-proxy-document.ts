import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod/mini';
import { isMapping } from './documents.ts';
import { type ConfigurationProblem, pathText } from './error.ts';
import {
  type KubeProxyFields,
  kubeProxySchema,
  SECTIONS,
  SILENT_FIELDS,
  TOP_LEVEL,
  USED_FIELDS,
} from './kube-proxy-fields.ts';

type Mapping = Readonly<Record<string, unknown>>;
type Checked = { readonly fields: KubeProxyFields } | { readonly problems: readonly ConfigurationProblem[] };

const LATER_MODES: ReadonlySet<string> = new Set(['nftables', 'ipvs', 'userspace']);

/** Checks one KubeProxyConfiguration: its fields with defaults, or everything that is wrong with it. */
export function checkKubeProxyDocument(document: Mapping): Checked {
  const result = z.safeParse(kubeProxySchema, document);
  if (!result.success) {
    const problems = result.error.issues.map(({ path, message }) => ({
      path: pathText(path),
      message: `${message}${whatItIs(document, path)}`,
    }));
    return { problems: [...problems, ...laterMode(document.mode)] };
  }
  const problems = [...laterMode(document.mode), ...acrossFields(result.data)];
  return problems.length > 0 ? { problems } : { fields: result.data };
}

/** `, is 40`: what stands in the file, when it is short enough to say. */
function whatItIs(document: Mapping, path: readonly PropertyKey[]): string {
  const value = path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], document);
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? '' : `, is ${text}`;
}

function laterMode(mode: unknown): ConfigurationProblem[] {
  if (typeof mode !== 'string' || !LATER_MODES.has(mode)) return [];
  return [{ path: 'mode', message: `${mode} comes in a later version; this one has iptables` }];
}

/** What a field alone can't tell. */
function acrossFields(fields: KubeProxyFields): ConfigurationProblem[] {
  const problems: ConfigurationProblem[] = [];
  const { syncPeriod, minSyncPeriod = 0 } = fields.iptables;
  if (minSyncPeriod > syncPeriod) {
    problems.push({ path: 'iptables.minSyncPeriod', message: 'must not be longer than iptables.syncPeriod' });
  }
  if (fields.detectLocalMode === 'BridgeInterface' && fields.detectLocal.bridgeInterface === '') {
    problems.push({
      path: 'detectLocal.bridgeInterface',
      message: 'must be set when detectLocalMode is BridgeInterface',
    });
  }
  if (fields.detectLocalMode === 'InterfaceNamePrefix' && fields.detectLocal.interfaceNamePrefix === '') {
    const message = 'must be set when detectLocalMode is InterfaceNamePrefix';
    problems.push({ path: 'detectLocal.interfaceNamePrefix', message });
  }
  return problems;
}

/** A line for each field that is unknown, or is known and set but does nothing in this version. */
export function kubeProxyWarnings(document: Mapping, fields: KubeProxyFields): string[] {
  const warnings = [...unknownFields(document), ...unusedFields(fields)];
  const detection = fields.detectLocalMode;
  if ((detection === '' || detection === 'ClusterCIDR') && fields.clusterCIDR.length === 0) {
    warnings.push('clusterCIDR is not set: traffic from pods is not told from traffic from outside the cluster');
  }
  return warnings;
}

function unknownFields(document: Mapping): string[] {
  const unknown = Object.entries(document).flatMap(([name, value]) => {
    if (Object.hasOwn(TOP_LEVEL, name)) return [];
    const section = Object.entries(SECTIONS).find(([sectionName]) => sectionName === name)?.[1];
    if (section === undefined) return [name];
    const inner = isMapping(value) ? Object.keys(value) : [];
    return inner.filter(field => !Object.hasOwn(section, field)).map(field => `${name}.${field}`);
  });
  return unknown.map(path => `unknown field ${path}, ignored`);
}

function unusedFields(fields: KubeProxyFields): string[] {
  const defaults = new Map(leaves(z.parse(kubeProxySchema, {})));
  return leaves(fields)
    .filter(([path]) => !USED_FIELDS.has(path) && !SILENT_FIELDS.has(path))
    .filter(([path, value]) => !isDeepStrictEqual(value, defaults.get(path)))
    .map(([path]) => `${path} is set but not used by this version`);
}

/** Every field with its path; the fields of a section one by one. */
function leaves(fields: KubeProxyFields): (readonly [string, unknown])[] {
  return Object.entries(fields).flatMap(([name, value]): (readonly [string, unknown])[] =>
    Object.hasOwn(SECTIONS, name)
      ? Object.entries(value as Mapping).map(([field, inner]) => [`${name}.${field}`, inner] as const)
      : [[name, value] as const],
  );
}
