/** What the cluster holds at a step of a case, brought in through the product's border as a manifest is. */
import { parseManifest } from '../../../src/watch/manifest.ts';
import type { Kind } from '../../../src/watch/objects.ts';
import { Store } from '../../../src/watch/store.ts';
import { nodeObject } from './node-config.ts';
import type { NodeConfig, Step } from './packetflow.ts';

const KINDS: ReadonlySet<string> = new Set<Kind>(['Service', 'EndpointSlice', 'Node']);

/** A store that has only the node. */
export function newStore(node: NodeConfig): Store {
  const store = new Store();
  accept(store, [nodeObject(node), ...serviceCIDRs(node)]);
  return store;
}

function serviceCIDRs({ serviceCIDRs: cidrs = [] }: NodeConfig): unknown[] {
  const apiVersion = 'networking.k8s.io/v1';
  return cidrs.length === 0 ? [] : [{ apiVersion, kind: 'ServiceCIDR', metadata: { name: 'case' }, spec: { cidrs } }];
}

/** Carries out a step: deletions, then objects. @throws TypeError for a deletion of what isn't an object's name */
export function takeStep(store: Store, step: Pick<Step, 'delete' | 'apply'>): void {
  for (const name of step.delete ?? []) {
    const [, kind = '', key = ''] = /^([^/]+)\/(.+)$/.exec(name) ?? [];
    if (!KINDS.has(kind)) throw new TypeError(`cannot delete ${name}`);
    store.remove(kind as Kind, key);
  }
  accept(store, step.apply ?? []);
}

function accept(store: Store, objects: readonly unknown[]): void {
  const list = { apiVersion: 'v1', kind: 'List', items: objects };
  for (const { kind, trimmed } of parseManifest('case.json', JSON.stringify(list)).objects) store.accept(kind, trimmed);
}

type Named = { kind?: string; metadata?: { namespace?: string; name?: string } };

/** The objects that are there after all of `steps`: what a cold start finds. */
export function finalObjects(steps: readonly Pick<Step, 'delete' | 'apply'>[]): readonly unknown[] {
  const objects = new Map<string, unknown>();
  for (const step of steps) {
    for (const name of step.delete ?? []) objects.delete(name);
    for (const object of step.apply ?? []) objects.set(nameOf(object as Named), object);
  }
  return [...objects.values()];
}

function nameOf({ kind, metadata = {} }: Named): string {
  return kind === 'Node' ? `Node/${metadata.name}` : `${kind}/${metadata.namespace ?? 'default'}/${metadata.name}`;
}
