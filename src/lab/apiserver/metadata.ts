/** The metadata of a write: shape, checks, and what the server alone sets. Source: apimachinery/pkg/api/validation. */
import { randomInt } from 'node:crypto';
import { found, invalidValue, labelProblem, requiredValue, subdomainProblem } from './field-errors.ts';
import { isJsonObject, type KubeObject, type KubeObjectInput, type ObjectMeta } from './objects.ts';
import { apiVersionOf, type Resource } from './resource.ts';
import { badRequest, type StatusCause } from './status.ts';

/** Characters of generated names: no vowels, so that no words come out. Source: apimachinery/pkg/util/rand. */
const suffixAlphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** Five random characters, as the server and its controllers append to generated names. */
export function randomSuffix(): string {
  return Array.from({ length: 5 }, () => suffixAlphabet[randomInt(suffixAlphabet.length)]).join('');
}

/** RFC 3339 in whole seconds, as API objects have it. */
export function formatTime(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}

/** Fields whose JSON type the server relies on: path, type. */
const shapes: readonly (readonly [string, 'object' | 'array'])[] = [
  ['metadata', 'object'],
  ['metadata.labels', 'object'],
  ['metadata.annotations', 'object'],
  ['metadata.finalizers', 'array'],
  ['metadata.ownerReferences', 'array'],
  ['spec', 'object'],
  ['status', 'object'],
];

const shapesByKind: Readonly<Record<string, readonly (readonly [string, 'object' | 'array'])[]>> = {
  Service: [
    ['spec.ports', 'array'],
    ['spec.selector', 'object'],
    ['spec.clusterIPs', 'array'],
    ['spec.ipFamilies', 'array'],
    ['spec.externalIPs', 'array'],
    ['spec.loadBalancerSourceRanges', 'array'],
  ],
  EndpointSlice: [
    ['endpoints', 'array'],
    ['ports', 'array'],
  ],
  Pod: [
    ['spec.containers', 'array'],
    ['spec.initContainers', 'array'],
  ],
  Endpoints: [['subsets', 'array']],
};

function hasShape(value: unknown, shape: 'object' | 'array'): boolean {
  if (value === undefined || value === null) return true;
  // Arrays in these places hold objects or texts, and never null.
  return shape === 'array' ? Array.isArray(value) && value.every(item => item !== null) : isJsonObject(value);
}

/** Refuses (400) bodies whose structure doesn't fit the kind. `null` counts as absent and is taken out. */
export function checkShape(resource: Resource, object: KubeObjectInput): void {
  for (const [path, shape] of [...shapes, ...(shapesByKind[resource.kind] ?? [])]) {
    const names = path.split('.');
    const last = names.pop() ?? '';
    const parent = names.reduce<unknown>((value, name) => (isJsonObject(value) ? value[name] : undefined), object);
    if (!isJsonObject(parent)) continue;
    if (!hasShape(parent[last], shape)) {
      const what = `${resource.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}`;
      throw badRequest(`${what}: json: cannot unmarshal ${path} into a Go value of type ${shape}`);
    }
    if (parent[last] === null) parent[last] = undefined;
  }
}

/** The input with type and metadata set in the order of a real answer; refuses (400) another kind than the path's. */
export function typed(resource: Resource, namespace: string, input: KubeObjectInput): KubeObject {
  const apiVersion = apiVersionOf(resource);
  if (input.apiVersion !== undefined && input.apiVersion !== apiVersion) {
    const expected = `does not match the expected API version (${apiVersion})`;
    throw badRequest(`the API version in the data (${input.apiVersion}) ${expected}`);
  }
  if (input.kind !== undefined && input.kind !== resource.kind) {
    const what = `${input.kind} in version "${resource.version}" cannot be handled as a ${resource.kind}`;
    throw badRequest(`${what}: converting (${input.kind}) to (${resource.kind}): unknown conversion`);
  }
  checkShape(resource, input);
  const { kind: _kind, apiVersion: _apiVersion, metadata = {}, ...rest } = input;
  const given = metadata.namespace ?? '';
  if (resource.namespaced && given !== '' && given !== namespace) {
    throw badRequest('the namespace of the provided object does not match the namespace sent on the request');
  }
  return {
    kind: resource.kind,
    apiVersion,
    metadata: orderMeta(metadata, resource.namespaced ? namespace : ''),
    ...rest,
  };
}

/** Go leaves empty maps and lists of metadata out (omitempty). */
function unlessEmpty<T extends object>(value: T | undefined): T | undefined {
  return value === undefined || Object.keys(value).length === 0 ? undefined : value;
}

/** Metadata in the order in which a real server prints it; unknown fields (managedFields, selfLink) are dropped. */
function orderMeta(metadata: ObjectMeta, namespace: string): ObjectMeta {
  return {
    name: metadata.name,
    generateName: metadata.generateName,
    namespace: namespace === '' ? undefined : namespace,
    uid: metadata.uid,
    resourceVersion: metadata.resourceVersion,
    generation: metadata.generation,
    creationTimestamp: metadata.creationTimestamp,
    deletionTimestamp: metadata.deletionTimestamp,
    deletionGracePeriodSeconds: metadata.deletionGracePeriodSeconds,
    labels: unlessEmpty(metadata.labels),
    annotations: unlessEmpty(metadata.annotations),
    ownerReferences: unlessEmpty(metadata.ownerReferences),
    finalizers: unlessEmpty(metadata.finalizers),
  };
}

function checkLabels(labels: Readonly<Record<string, string>>): StatusCause[] {
  return Object.entries(labels).flatMap(([key, value]) => {
    const text = String(value);
    const isValid = text === '' || (text.length <= 63 && /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/.test(text));
    const isKey = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/.test(key);
    return found(
      isKey ? undefined : invalidValue('metadata.labels', key, 'name part must consist of alphanumeric characters'),
      isValid
        ? undefined
        : invalidValue(
            'metadata.labels',
            text,
            'a valid label must be an empty string or consist of alphanumeric characters',
          ),
    );
  });
}

/** What is wrong with the metadata of an object that is about to be stored. */
export function checkMeta(resource: Resource, object: KubeObject): StatusCause[] {
  const { name = '', labels = {} } = object.metadata;
  if (name === '') return [requiredValue('metadata.name', 'name or generateName is required')];
  const problem = resource.nameForm === 'label' ? labelProblem(name) : subdomainProblem(name);
  return [...(problem === undefined ? [] : [invalidValue('metadata.name', name, problem)]), ...checkLabels(labels)];
}
