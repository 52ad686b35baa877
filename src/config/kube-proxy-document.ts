import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod/mini';
import { leaves, type Mapping, problemsOf, unknownFields } from './document-check.ts';
import type { ConfigurationProblem } from './error.ts';
import { familyWarnings } from './family-warnings.ts';
import { FIELD_EFFECTS } from './field-effects.ts';
import { type KubeProxyFields, kubeProxySchema, SECTIONS, TOP_LEVEL } from './kube-proxy-fields.ts';
import { isServed, MODE_WORDS, SERVED_MODES } from './proxy-modes.ts';

type Checked = { readonly fields: KubeProxyFields } | { readonly problems: readonly ConfigurationProblem[] };

/** Checks one KubeProxyConfiguration: its fields with defaults, or everything that is wrong with it. */
export function checkKubeProxyDocument(document: Mapping): Checked {
  const result = z.safeParse(kubeProxySchema, document);
  if (!result.success) {
    return { problems: [...problemsOf(result.error, document), ...laterMode(document.mode)] };
  }
  const problems = [...laterMode(document.mode), ...acrossFields(result.data)];
  return problems.length > 0 ? { problems } : { fields: result.data };
}

function laterMode(mode: unknown): ConfigurationProblem[] {
  const word = MODE_WORDS.find(known => known !== '' && known === mode);
  if (word === undefined || isServed(word)) return [];
  return [{ path: 'mode', message: `${word} comes in a later version; this one has ${SERVED_MODES.join(' and ')}` }];
}

/** What a field alone can't tell. */
function acrossFields(fields: KubeProxyFields): ConfigurationProblem[] {
  const problems: ConfigurationProblem[] = [];
  // kube-proxy looks at the section nftables in that mode only.
  const sections = fields.mode === 'nftables' ? (['iptables', 'nftables'] as const) : (['iptables'] as const);
  for (const section of sections) {
    const { syncPeriod, minSyncPeriod = 0 } = fields[section];
    if (minSyncPeriod <= syncPeriod) continue;
    problems.push({ path: `${section}.minSyncPeriod`, message: `must not be longer than ${section}.syncPeriod` });
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

/** A line for each field that is unknown, or is known and set but does nothing in this version. `nameOf` names a field for people. */
export function kubeProxyWarnings(
  document: Mapping,
  fields: KubeProxyFields,
  nameOf = (path: string): string => path,
): string[] {
  const unknown = unknownFields(document, { topLevel: TOP_LEVEL, sections: SECTIONS });
  const detection = fields.detectLocalMode;
  const isBlind = (detection === '' || detection === 'ClusterCIDR') && fields.clusterCIDR.length === 0;
  const blind = `${nameOf('clusterCIDR')} is not set: traffic from pods is not told from traffic from outside the cluster`;
  return [
    ...unknown.map(path => `unknown field ${path}, ignored`),
    ...unusedFields(fields).map(({ path, why }) => `${nameOf(path)} is set but not used by this version: ${why}`),
    ...(isBlind ? [blind] : []),
    ...familyWarnings(fields, nameOf),
  ];
}

function unusedFields(fields: KubeProxyFields): { readonly path: string; readonly why: string }[] {
  const defaults = new Map(leaves(z.parse(kubeProxySchema, {}), SECTIONS));
  return leaves(fields, SECTIONS).flatMap(([path, value]) => {
    const { takesEffect, why = '', isSilent } = FIELD_EFFECTS[path] ?? { takesEffect: 'now' };
    if (takesEffect !== 'never' || isSilent?.(value) === true) return [];
    return isDeepStrictEqual(value, defaults.get(path)) ? [] : [{ path, why }];
  });
}
