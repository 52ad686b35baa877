import { stringify } from 'yaml';
import type { ConfigurationFields } from './configuration.ts';
import { effectiveDocuments } from './effective.ts';

/** The whole configuration with defaults filled in, as YAML of two documents that loads to the same configuration, also in kube-proxy: quoted by the rules of YAML 1.1, as its decoder reads. */
export function configurationText(fields: ConfigurationFields): string {
  const { kubeProxy, node } = effectiveDocuments(fields);
  return [kubeProxy, node]
    .map(({ apiVersion, kind, ...rest }) => stringify({ apiVersion, kind, ...rest }, { version: '1.1', lineWidth: 0 }))
    .join('---\n');
}
