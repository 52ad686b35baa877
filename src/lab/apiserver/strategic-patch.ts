/**
 * Strategic merge patch: a merge patch which knows the keys of lists. Which lists merge, and by what, is a property of
 * the Go types (patchStrategy, patchMergeKey tags of core/v1); here it is a table.
 * Source: https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md
 */
import { isJsonObject, isSameJson, type JsonObject } from './objects.ts';
import { badRequest } from './status.ts';

/** Path of a list (`*` = within each item) → merge key; '' for lists of plain values. Other lists are replaced. */
type MergeKeys = Readonly<Record<string, string>>;

const metadataKeys: MergeKeys = { 'metadata.ownerReferences': 'uid', 'metadata.finalizers': '' };

function containerKeys(list: string): MergeKeys {
  return {
    [`spec.${list}`]: 'name',
    [`spec.${list}.*.ports`]: 'containerPort',
    [`spec.${list}.*.env`]: 'name',
    [`spec.${list}.*.volumeMounts`]: 'mountPath',
    [`spec.${list}.*.volumeDevices`]: 'devicePath',
  };
}

const keysByKind: Readonly<Record<string, MergeKeys>> = {
  Service: { 'spec.ports': 'port', 'status.conditions': 'type' },
  Pod: {
    ...containerKeys('containers'),
    ...containerKeys('initContainers'),
    ...containerKeys('ephemeralContainers'),
    'spec.volumes': 'name',
    'spec.imagePullSecrets': 'name',
    'spec.hostAliases': 'ip',
    'spec.topologySpreadConstraints': 'topologyKey',
    'status.conditions': 'type',
    'status.podIPs': 'ip',
    'status.hostIPs': 'ip',
  },
  Node: { 'spec.podCIDRs': '', 'status.addresses': 'type', 'status.conditions': 'type' },
  Namespace: { 'status.conditions': 'type' },
  ServiceAccount: { secrets: 'name', imagePullSecrets: 'name' },
};

/** Directives that don't name a field of the object. */
const orderPrefix = '$setElementOrder/';
const deletePrefix = '$deleteFromPrimitiveList/';

function mergeValue(keys: MergeKeys, path: string, current: unknown, patch: unknown): unknown {
  if (isJsonObject(patch)) return mergeObject(keys, path, isJsonObject(current) ? current : {}, patch);
  if (Array.isArray(patch)) return mergeList(keys, path, Array.isArray(current) ? current : [], patch);
  return patch;
}

function withoutDirectives(patch: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(patch).filter(([key]) => !key.startsWith('$')));
}

function mergeObject(keys: MergeKeys, path: string, current: JsonObject, patch: JsonObject): JsonObject {
  if (patch.$patch === 'replace') return withoutDirectives(patch);
  if (patch.$patch === 'delete') return {};
  const retained = patch.$retainKeys;
  const kept = Array.isArray(retained) ? Object.entries(current).filter(([key]) => retained.includes(key)) : undefined;
  const merged: JsonObject = kept === undefined ? { ...current } : Object.fromEntries(kept);
  for (const [key, value] of Object.entries(withoutDirectives(patch))) {
    const merge = mergeValue(keys, path === '' ? key : `${path}.${key}`, merged[key], value);
    if (value === null) delete merged[key];
    else merged[key] = merge;
  }
  for (const [directive, value] of Object.entries(patch)) {
    if (!Array.isArray(value)) continue;
    if (directive.startsWith(deletePrefix)) removeValues(merged, directive.slice(deletePrefix.length), value);
    const list = directive.slice(orderPrefix.length);
    if (directive.startsWith(orderPrefix)) reorder(merged, list, keys[path === '' ? list : `${path}.${list}`], value);
  }
  return merged;
}

function removeValues(object: JsonObject, field: string, values: readonly unknown[]): void {
  const list = object[field];
  if (Array.isArray(list)) object[field] = list.filter(item => !values.includes(item));
}

/** Puts the items that the client ordered into its order; others keep their place behind them. */
function reorder(object: JsonObject, field: string, key: string | undefined, order: readonly unknown[]): void {
  const list = object[field];
  if (!Array.isArray(list) || key === undefined) return;
  const rank = (item: unknown): number => {
    const index = order.findIndex(wanted =>
      key === '' ? wanted === item : isJsonObject(wanted) && isJsonObject(item) && wanted[key] === item[key],
    );
    return index < 0 ? order.length : index;
  };
  object[field] = list
    .map((item: unknown, position) => ({ item, position, rank: rank(item) }))
    .sort((left, right) => left.rank - right.rank || left.position - right.position)
    .map(({ item }) => item);
}

/** Ports with the same number are told apart by their protocol, when the patch names one. */
function findItem(list: readonly unknown[], key: string, wanted: JsonObject): number {
  const candidates = [...list.entries()].filter(([, item]) => isJsonObject(item) && item[key] === wanted[key]);
  const exact = candidates.find(([, item]) => isJsonObject(item) && item.protocol === wanted.protocol);
  if (exact !== undefined) return exact[0];
  const isOther = wanted.protocol !== undefined && candidates.some(([, item]) => hasProtocol(item));
  return isOther ? -1 : (candidates[0]?.[0] ?? -1);
}

function hasProtocol(item: unknown): boolean {
  return isJsonObject(item) && item.protocol !== undefined;
}

function mergeList(keys: MergeKeys, path: string, current: readonly unknown[], patch: readonly unknown[]): unknown[] {
  const isReplaced = patch.some(
    item => isJsonObject(item) && item.$patch === 'replace' && Object.keys(item).length === 1,
  );
  const key = keys[path];
  if (key === undefined || isReplaced) {
    const items = patch.filter(item => !(isJsonObject(item) && item.$patch === 'replace'));
    return items.map(item => (isJsonObject(item) ? withoutDirectives(item) : item));
  }
  if (key === '') return [...current, ...patch.filter(item => !current.some(known => isSameJson(known, item)))];
  const merged = [...current];
  for (const item of patch) {
    if (!isJsonObject(item)) throw badRequest(`unable to merge ${path}: its items are objects`);
    if (item[key] === undefined)
      throw badRequest(`map: ${JSON.stringify(item)} does not contain declared merge key: ${key}`);
    const index = findItem(merged, key, item);
    if (item.$patch === 'delete') {
      if (index >= 0) merged.splice(index, 1);
    } else if (index < 0) {
      merged.push(mergeValue(keys, `${path}.*`, {}, item));
    } else {
      merged[index] = mergeValue(keys, `${path}.*`, merged[index], item);
    }
  }
  return merged;
}

/** Applies a strategic merge patch to an object of a kind; the arguments stay as they are. Throws 400. */
export function applyStrategicPatch(kind: string, current: JsonObject, patch: unknown): JsonObject {
  if (!isJsonObject(patch)) throw badRequest('error decoding patch: it is not an object');
  return mergeObject({ ...metadataKeys, ...keysByKind[kind] }, '', current, patch);
}
