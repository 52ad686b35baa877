/** What a write may rely on and what it may change. */
import type { KubeObject, StoredObject } from './objects.ts';
import type { Resource } from './resource.ts';
import { conflict } from './status.ts';

export interface Preconditions {
  readonly uid?: string | undefined;
  readonly resourceVersion?: string | undefined;
}

/** Marked for deletion, and nothing holds it back any more (Pods end with a second delete). */
export function isFinished(object: StoredObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds = 0, finalizers = [] } = object.metadata;
  return deletionTimestamp !== undefined && deletionGracePeriodSeconds === 0 && finalizers.length === 0;
}

/** Refuses (409) a write that names another uid or version than the current ones. */
export function checkPreconditions(
  resource: Resource,
  name: string,
  current: StoredObject,
  options: Preconditions,
): void {
  const { uid, resourceVersion } = current.metadata;
  if (options.uid !== undefined && options.uid !== uid) {
    throw conflict(
      resource,
      name,
      `Precondition failed: UID in precondition: ${options.uid}, UID in object meta: ${uid}`,
    );
  }
  if (options.resourceVersion !== undefined && options.resourceVersion !== resourceVersion)
    throw conflict(resource, name);
}

/** An update of the object leaves the status alone, one of the status leaves the rest alone. */
export function withSubresource(
  resource: Resource,
  object: KubeObject,
  current: StoredObject,
  subresource: 'status' | undefined,
): KubeObject {
  if (!resource.hasStatus) return object;
  if (subresource === 'status') {
    return { ...current, metadata: object.metadata, status: object.status ?? current.status };
  }
  return { ...object, status: current.status };
}
