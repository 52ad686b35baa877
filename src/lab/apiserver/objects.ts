/**
 * API objects as the embedded API server keeps them: whole, as the client sent them plus what the server fills in.
 * Only the fields that the server itself reads have a type; everything else passes through untouched.
 */

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** In the order in which a real API server writes the fields. */
export interface ObjectMeta {
  name?: string | undefined;
  generateName?: string | undefined;
  namespace?: string | undefined;
  uid?: string | undefined;
  resourceVersion?: string | undefined;
  generation?: number | undefined;
  creationTimestamp?: string | undefined;
  deletionTimestamp?: string | undefined;
  deletionGracePeriodSeconds?: number | undefined;
  labels?: Record<string, string> | undefined;
  annotations?: Record<string, string> | undefined;
  ownerReferences?: OwnerReference[] | undefined;
  finalizers?: string[] | undefined;
}

/** An object as a client sends it: `kind` and `apiVersion` may be missing. */
export interface KubeObjectInput {
  kind?: string | undefined;
  apiVersion?: string | undefined;
  metadata?: ObjectMeta | undefined;
  [field: string]: unknown;
}

export interface KubeObject extends KubeObjectInput {
  kind: string;
  apiVersion: string;
  metadata: ObjectMeta;
}

/** The object as stored: named, and never changed in place. */
export type StoredObject = Readonly<KubeObject>;

export type JsonObject = { [key: string]: unknown };

/** True for `{...}`, not for arrays and null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Deep copy of JSON; fields that are undefined are left out, as JSON.stringify would. */
export function cloneJson<T>(value: T): T;
export function cloneJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(item => cloneJson<unknown>(item));
  if (!isJsonObject(value)) return value;
  const copy: JsonObject = {};
  for (const key of Object.keys(value)) {
    if (value[key] !== undefined) copy[key] = cloneJson(value[key]);
  }
  return copy;
}

/** Equality of JSON, whatever the order of the keys; a field that is undefined counts as absent. */
export function isSameJson(left: unknown, right: unknown): boolean {
  if (left === right) return true;
  if (Array.isArray(left) && Array.isArray(right)) {
    return left.length === right.length && left.every((item, index) => isSameJson(item, right[index]));
  }
  if (!isJsonObject(left) || !isJsonObject(right)) return false;
  const keys = new Set([...Object.keys(left), ...Object.keys(right)]);
  return [...keys].every(key => isSameJson(left[key], right[key]));
}

/** The value at a dotted path of object fields, undefined where something on the way is missing. */
export function valueAt(object: unknown, path: string): unknown {
  let value: unknown = object;
  for (const name of path.split('.')) {
    if (!isJsonObject(value)) return undefined;
    value = value[name];
  }
  return value;
}

/** `namespace/name`, or the bare name of a cluster-scoped object: the order of keys is the order of lists. */
export function keyOf(namespace: string | undefined, name: string): string {
  return namespace === undefined || namespace === '' ? name : `${namespace}/${name}`;
}
