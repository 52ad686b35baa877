/**
 * Reads the protobuf bodies that `kubectl create` and client-go's typed clients send. Only the kinds that such clients
 * create here, and only requests: answers are JSON, which these clients accept.
 * Source: the field numbers of staging/src/k8s.io/api/{core/v1,events/v1,coordination/v1}/generated.proto and
 * apimachinery/pkg/{runtime,apis/meta/v1}/generated.proto; https://protobuf.dev/programming-guides/encoding/
 */
import type { JsonObject } from './objects.ts';
import { badRequest, StatusError } from './status.ts';

/** What a field holds. `flag` is a pointer, whose false means something; zero values of the others mean absent. */
type Kind =
  | 'text'
  | 'texts'
  | 'number'
  | 'flag'
  | 'bool'
  | 'textMap'
  | 'bytesMap'
  | 'time'
  | 'microTime'
  | 'intOrString';
type Field = readonly [name: string, kind: Kind] | readonly [name: string, kind: 'message' | 'list', schema: Schema];
type Schema = Readonly<Record<number, Field>>;

const owner: Schema = {
  1: ['kind', 'text'],
  3: ['name', 'text'],
  4: ['uid', 'text'],
  5: ['apiVersion', 'text'],
  6: ['controller', 'flag'],
  7: ['blockOwnerDeletion', 'flag'],
};

const metadata: Schema = {
  1: ['name', 'text'],
  2: ['generateName', 'text'],
  3: ['namespace', 'text'],
  5: ['uid', 'text'],
  6: ['resourceVersion', 'text'],
  11: ['labels', 'textMap'],
  12: ['annotations', 'textMap'],
  13: ['ownerReferences', 'list', owner],
  14: ['finalizers', 'texts'],
};

const servicePort: Schema = {
  1: ['name', 'text'],
  2: ['protocol', 'text'],
  3: ['port', 'number'],
  4: ['targetPort', 'intOrString'],
  5: ['nodePort', 'number'],
  6: ['appProtocol', 'text'],
};

const serviceSpec: Schema = {
  1: ['ports', 'list', servicePort],
  2: ['selector', 'textMap'],
  3: ['clusterIP', 'text'],
  4: ['type', 'text'],
  5: ['externalIPs', 'texts'],
  7: ['sessionAffinity', 'text'],
  8: ['loadBalancerIP', 'text'],
  9: ['loadBalancerSourceRanges', 'texts'],
  10: ['externalName', 'text'],
  11: ['externalTrafficPolicy', 'text'],
  12: ['healthCheckNodePort', 'number'],
  13: ['publishNotReadyAddresses', 'bool'],
  14: ['sessionAffinityConfig', 'message', { 1: ['clientIP', 'message', { 1: ['timeoutSeconds', 'number'] }] }],
  17: ['ipFamilyPolicy', 'text'],
  18: ['clusterIPs', 'texts'],
  19: ['ipFamilies', 'texts'],
  20: ['allocateLoadBalancerNodePorts', 'flag'],
  21: ['loadBalancerClass', 'text'],
  22: ['internalTrafficPolicy', 'text'],
  23: ['trafficDistribution', 'text'],
};

const reference: Schema = {
  1: ['kind', 'text'],
  2: ['namespace', 'text'],
  3: ['name', 'text'],
  4: ['uid', 'text'],
  5: ['apiVersion', 'text'],
  6: ['resourceVersion', 'text'],
  7: ['fieldPath', 'text'],
};

const series: Schema = { 1: ['count', 'number'], 2: ['lastObservedTime', 'microTime'] };

const eventsV1Event: Schema = {
  1: ['metadata', 'message', metadata],
  2: ['eventTime', 'microTime'],
  3: ['series', 'message', series],
  4: ['reportingController', 'text'],
  5: ['reportingInstance', 'text'],
  6: ['action', 'text'],
  7: ['reason', 'text'],
  8: ['regarding', 'message', reference],
  9: ['related', 'message', reference],
  10: ['note', 'text'],
  11: ['type', 'text'],
};

const lease: Schema = {
  1: ['holderIdentity', 'text'],
  2: ['leaseDurationSeconds', 'number'],
  3: ['acquireTime', 'microTime'],
  4: ['renewTime', 'microTime'],
  5: ['leaseTransitions', 'number'],
};

const schemas: Readonly<Record<string, Schema>> = {
  'v1 Namespace': { 1: ['metadata', 'message', metadata] },
  'v1 ServiceAccount': { 1: ['metadata', 'message', metadata] },
  'v1 ConfigMap': {
    1: ['metadata', 'message', metadata],
    2: ['data', 'textMap'],
    3: ['binaryData', 'bytesMap'],
    4: ['immutable', 'flag'],
  },
  'v1 Secret': {
    1: ['metadata', 'message', metadata],
    2: ['data', 'bytesMap'],
    3: ['type', 'text'],
    4: ['stringData', 'textMap'],
    5: ['immutable', 'flag'],
  },
  'v1 Service': { 1: ['metadata', 'message', metadata], 2: ['spec', 'message', serviceSpec] },
  'events.k8s.io/v1 Event': eventsV1Event,
  'coordination.k8s.io/v1 Lease': { 1: ['metadata', 'message', metadata], 2: ['spec', 'message', lease] },
};

type Raw = number | Buffer;

function truncated(): StatusError {
  return badRequest('the protobuf body ends in the middle of a field');
}

/** One varint; values above 2^53 don't occur in these fields. */
function readVarint(bytes: Buffer, start: number): readonly [value: number, end: number] {
  let value = 0;
  for (let index = start, scale = 1; index < bytes.length; index += 1, scale *= 128) {
    const byte = bytes[index] ?? 0;
    value += (byte & 127) * scale;
    if (byte < 128) return [value, index + 1];
  }
  throw truncated();
}

/** The fields of a message in order: numbers for varints, bytes for the rest. */
function* readFields(bytes: Buffer): Generator<readonly [number: number, value: Raw]> {
  let position = 0;
  while (position < bytes.length) {
    const [tag, afterTag] = readVarint(bytes, position);
    const [value, afterValue] = readVarint(bytes, afterTag);
    const wireType = tag & 7;
    if (wireType !== 0 && wireType !== 2) throw badRequest(`the protobuf body has a field of wire type ${wireType}`);
    position = wireType === 0 ? afterValue : afterValue + value;
    if (position > bytes.length) throw truncated();
    yield [tag >>> 3, wireType === 0 ? value : bytes.subarray(afterValue, position)];
  }
}

function bytesOf(raw: Raw | undefined): Buffer {
  return typeof raw === 'number' || raw === undefined ? Buffer.alloc(0) : raw;
}

function readMicroTime(bytes: Buffer): string | undefined {
  const fields = new Map(readFields(bytes));
  const seconds = Number(fields.get(1) ?? 0);
  if (seconds === 0) return undefined;
  const micros = String(Math.floor(Number(fields.get(2) ?? 0) / 1000)).padStart(6, '0');
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${micros}Z`;
}

function readIntOrString(bytes: Buffer): number | string | undefined {
  const fields = new Map(readFields(bytes));
  if (fields.get(1) === 1) return bytesOf(fields.get(3)).toString();
  return Number(fields.get(2) ?? 0) || undefined;
}

function readEntry(bytes: Buffer, encoding: 'utf8' | 'base64'): JsonObject {
  const fields = new Map(readFields(bytes));
  return { [bytesOf(fields.get(1)).toString()]: bytesOf(fields.get(2)).toString(encoding) };
}

/** The value of a field, given what the message has of it so far; undefined for zero values. */
function readValue(field: Field, raw: Raw, before: unknown): unknown {
  const list: unknown[] = Array.isArray(before) ? before : [];
  if (field[1] === 'list') return [...list, readMessage(field[2], bytesOf(raw))];
  if (field[1] === 'message') {
    const message = readMessage(field[2], bytesOf(raw));
    return Object.keys(message).length === 0 ? undefined : message;
  }
  switch (field[1]) {
    case 'number':
      return raw === 0 ? undefined : raw;
    case 'flag':
      return raw === 1;
    case 'bool':
      return raw === 1 ? true : undefined;
    case 'text':
      return bytesOf(raw).toString() || undefined;
    case 'texts':
      return [...list, bytesOf(raw).toString()];
    case 'textMap':
      return { ...(before as object | undefined), ...readEntry(bytesOf(raw), 'utf8') };
    case 'bytesMap':
      return { ...(before as object | undefined), ...readEntry(bytesOf(raw), 'base64') };
    case 'microTime':
      return readMicroTime(bytesOf(raw));
    default:
      return readIntOrString(bytesOf(raw));
  }
}

function readMessage(schema: Schema, bytes: Buffer): JsonObject {
  const message: JsonObject = {};
  for (const [number, raw] of readFields(bytes)) {
    const field = schema[number];
    if (field === undefined) continue;
    const value = readValue(field, raw, message[field[0]]);
    if (value !== undefined) message[field[0]] = value;
  }
  return message;
}

const magic = Buffer.from('k8s\0');

/** Decodes a request body: runtime.Unknown around the object. Throws 400, and 415 for kinds without a schema. */
export function decodeProtobuf(body: Buffer): JsonObject {
  if (!body.subarray(0, 4).equals(magic)) throw badRequest('the protobuf body does not begin with k8s\\0');
  const envelope = new Map(readFields(body.subarray(4)));
  const type = new Map(readFields(bytesOf(envelope.get(1))));
  const apiVersion = bytesOf(type.get(1)).toString();
  const kind = bytesOf(type.get(2)).toString();
  const schema = schemas[`${apiVersion} ${kind}`];
  if (schema === undefined) {
    const message = `protobuf bodies of ${apiVersion} ${kind} are not understood - send application/json`;
    throw new StatusError(415, message, { reason: 'UnsupportedMediaType' });
  }
  return { kind, apiVersion, ...readMessage(schema, bytesOf(envelope.get(2))) };
}
