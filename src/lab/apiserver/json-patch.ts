/** JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396). */
import { cloneJson, isJsonObject, isSameJson, type JsonObject } from './objects.ts';
import { badRequest, StatusError } from './status.ts';

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from: string | undefined;
  readonly value: unknown;
}

/** A patch that fits no object: RFC 6902 §5. The API server answers 422. */
function cannotApply(message: string): StatusError {
  return new StatusError(422, `the server rejected our request due to an error in our request: ${message}`, {
    reason: 'Invalid',
    details: {},
  });
}

/** The unescaped steps of an RFC 6901 pointer. */
function parsePointer(pointer: string): string[] {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw badRequest(`error decoding patch: ${pointer} is not a JSON pointer`);
  const steps = pointer.slice(1).split('/');
  return steps.map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function parseOperations(patch: unknown): Operation[] {
  if (!Array.isArray(patch)) throw badRequest('error decoding patch: json: cannot unmarshal into jsonpatch.Patch');
  return patch.map((entry: unknown) => {
    const { op, path, from, value } = isJsonObject(entry) ? entry : {};
    if (typeof op !== 'string' || typeof path !== 'string') {
      throw badRequest('error decoding patch: an operation lacks op or path');
    }
    return { op, path, from: typeof from === 'string' ? from : undefined, value };
  });
}

/** The index that a step names; `-` is the end, allowed for additions only. */
function indexOf(list: readonly unknown[], step: string, isAddition: boolean): number {
  if (step === '-' && isAddition) return list.length;
  const index = /^(0|[1-9]\d*)$/.test(step) ? Number(step) : -1;
  if (index < 0 || index > list.length - (isAddition ? 0 : 1)) throw cannotApply(`index ${step} is out of bounds`);
  return index;
}

function child(parent: unknown, step: string): unknown {
  if (Array.isArray(parent)) return parent[indexOf(parent, step, false)];
  if (isJsonObject(parent) && parent[step] !== undefined) return parent[step];
  throw cannotApply(`there is nothing at ${JSON.stringify(step)}`);
}

function valueAtPointer(document: unknown, pointer: string): unknown {
  return parsePointer(pointer).reduce(child, document);
}

function add(document: unknown, pointer: string, value: unknown): unknown {
  const steps = parsePointer(pointer);
  const last = steps.pop();
  if (last === undefined) return value;
  const parent = steps.reduce(child, document);
  if (Array.isArray(parent)) parent.splice(indexOf(parent, last, true), 0, value);
  else if (isJsonObject(parent)) parent[last] = value;
  else throw cannotApply(`${pointer} is not in an object or a list`);
  return document;
}

function remove(document: unknown, pointer: string): unknown {
  const steps = parsePointer(pointer);
  const last = steps.pop();
  if (last === undefined) return null;
  const parent = steps.reduce(child, document);
  child(parent, last);
  if (Array.isArray(parent)) parent.splice(indexOf(parent, last, false), 1);
  else if (isJsonObject(parent)) delete parent[last];
  return document;
}

function step(document: unknown, { op, path, from = '', value }: Operation): unknown {
  switch (op) {
    case 'add':
      return add(document, path, cloneJson(value));
    case 'remove':
      return remove(document, path);
    case 'replace':
      valueAtPointer(document, path);
      return path === '' ? value : add(remove(document, path), path, cloneJson(value));
    case 'move': {
      if (path.startsWith(`${from}/`)) throw cannotApply(`${from} can't be moved into itself`);
      const moved = valueAtPointer(document, from);
      return add(remove(document, from), path, moved);
    }
    case 'copy':
      return add(document, path, cloneJson(valueAtPointer(document, from)));
    case 'test':
      if (!isSameJson(valueAtPointer(document, path), value)) throw cannotApply(`testing value ${path} failed`);
      return document;
    default:
      throw badRequest(`error decoding patch: unexpected operation ${JSON.stringify(op)}`);
  }
}

/** Applies a JSON Patch to a document, which may be changed. Throws 400 for a bad patch, 422 when it doesn't fit. */
export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  return parseOperations(patch).reduce(step, document);
}

/** Applies a JSON Merge Patch; the arguments stay as they are. */
export function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return patch;
  const merged: JsonObject = isJsonObject(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete merged[key];
    else merged[key] = applyMergePatch(merged[key], value);
  }
  return merged;
}
