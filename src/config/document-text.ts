import { stringify } from 'yaml';
import type { ConfigurationFields } from './configuration.ts';
import { effectiveDocuments } from './effective.ts';

/** The whole configuration with defaults filled in, as YAML of two documents that loads to the same configuration. */
export function configurationText(fields: ConfigurationFields): string {
  const { kubeProxy, node } = effectiveDocuments(fields);
  return [kubeProxy, node]
    .map(({ apiVersion, kind, ...rest }) => stringify({ apiVersion, kind, ...rest }, { lineWidth: 0 }))
    .join('---\n');
}
