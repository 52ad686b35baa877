/** deploy/kproxy-ts.yaml as the tests read it: its objects, and the parts of the DaemonSet that they ask about. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { V1ClusterRole, V1ClusterRoleBinding, V1ConfigMap, V1DaemonSet } from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import { projectDir } from '../../../src/lab/install.ts';

export const manifestText = readFileSync(join(projectDir, 'deploy/kproxy-ts.yaml'), 'utf8');

/** The objects in a manifest's text. @throws what isn't YAML */
export function objectsIn(text: string): unknown[] {
  return [...parseAllDocuments(text, { strict: true })].map(document => {
    const [error] = document.errors;
    if (error !== undefined) throw error;
    return document.toJS() as unknown;
  });
}

interface Kinds {
  readonly ClusterRole: V1ClusterRole;
  readonly ClusterRoleBinding: V1ClusterRoleBinding;
  readonly ConfigMap: V1ConfigMap;
  readonly DaemonSet: V1DaemonSet;
}

/** The manifest's only object of a kind; that it has the type is what the schema test checks. */
export function theOnly<K extends keyof Kinds>(kind: K): Kinds[K] {
  const found = objectsIn(manifestText).filter(object => (object as { kind?: unknown }).kind === kind);
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`the manifest has ${found.length} objects of ${kind}`);
  return only as Kinds[K];
}

/** The pod of the DaemonSet and its only container. */
export function daemonPod() {
  const pod = theOnly('DaemonSet').spec?.template.spec;
  const [container] = pod?.containers ?? [];
  if (pod === undefined || container === undefined || pod.containers.length > 1) throw new Error('not one container');
  return { pod, container };
}

/** Its only init container. */
export function initContainer() {
  const [container, ...others] = daemonPod().pod.initContainers ?? [];
  if (container === undefined || others.length > 0) throw new Error('not one init container');
  return container;
}

/** The configuration file in the ConfigMap. */
export function configurationText(): string {
  return theOnly('ConfigMap').data?.['config.yaml'] ?? '';
}

/** The capabilities that the container keeps, as the manifest writes them (`NET_ADMIN`). */
export function keptCapabilities(): readonly string[] {
  return daemonPod().container.securityContext?.capabilities?.add ?? [];
}
