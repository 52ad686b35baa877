/**
 * Kubernetes' own types as a schema: fields, whether they must be there, and their types, as the generated models of
 * @kubernetes/client-node declare them. Their TypeScript is read as text, because only it says which fields are optional.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isMapping } from '../../../src/config/documents.ts';
import { projectDir } from '../../../src/lab/install.ts';

const MODELS = join(projectDir, 'node_modules/@kubernetes/client-node/dist/gen/models');
/** `    'name'?: Array<V1Container>;` of a model; static members have no quotes, and a mapping's type stands on three lines. */
const FIELD = /^ {4}'(?<name>[^']+)'(?<optional>\?)?: (?<type>[^;{]+|\{\s*\[key: string\]: [^;]+;\s*\});$/gm;
/** Each group and version that the checked manifests use, with the prefix of its models. */
const PREFIXES: Readonly<Record<string, string>> = {
  v1: 'V1',
  'apps/v1': 'V1',
  'rbac.authorization.k8s.io/v1': 'V1',
};

interface Field {
  readonly name: string;
  readonly isRequired: boolean;
  readonly type: string;
}

/** Everything in a Kubernetes object that the API wouldn't take: `path: reason` each. */
export function objectProblems(object: unknown): string[] {
  if (!isMapping(object)) return ['is no object'];
  const { apiVersion, kind } = object;
  const type = `${PREFIXES[String(apiVersion)]}${String(kind)}`;
  if (!existsSync(modelFile(type))) return [`apiVersion, kind: there is no ${String(kind)} in ${String(apiVersion)}`];
  const missing = ['apiVersion', 'kind', 'metadata'].filter(name => object[name] === undefined);
  return [...missing.map(name => `${name}: is missing`), ...modelProblems(object, type, '')];
}

function at(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`;
}

function modelFile(type: string): string {
  return join(MODELS, `${type}.d.ts`);
}

function fieldsOf(type: string): Field[] {
  const source = readFileSync(modelFile(type), 'utf8');
  const fields = [...source.matchAll(FIELD)].map(({ groups = {} }) => ({
    name: groups.name ?? '',
    isRequired: groups.optional !== '?',
    type: groups.type ?? '',
  }));
  if (fields.length === 0) throw new Error(`${type} has no fields that this reader understands`);
  return fields;
}

function modelProblems(value: unknown, type: string, path: string): string[] {
  if (!isMapping(value)) return [`${path}: must be a ${type}`];
  const fields = new Map(fieldsOf(type).map(field => [field.name, field]));
  const missing = [...fields.values()].filter(({ name, isRequired }) => isRequired && value[name] === undefined);
  return [
    ...missing.map(({ name }) => `${at(path, name)}: is missing`),
    ...Object.entries(value).flatMap(([name, inner]) => {
      const field = fields.get(name);
      const here = at(path, name);
      return field === undefined ? [`${here}: ${type} has no such field`] : typeProblems(inner, field.type, here);
    }),
  ];
}

function typeProblems(value: unknown, type: string, path: string): string[] {
  const element = /^Array<(.+)>$/.exec(type)?.[1];
  if (element !== undefined) {
    if (!Array.isArray(value)) return [`${path}: must be a list`];
    return value.flatMap((item: unknown, index) => typeProblems(item, element, at(path, String(index))));
  }
  const entry = /^\{\s*\[key: string\]: (.+);\s*\}$/.exec(type)?.[1];
  if (entry !== undefined) {
    if (!isMapping(value)) return [`${path}: must be a mapping`];
    return Object.entries(value).flatMap(([key, item]) => typeProblems(item, entry, at(path, key)));
  }
  if (existsSync(modelFile(type))) return modelProblems(value, type, path);
  return plainProblems(value, type).map(problem => `${path}: ${problem}`);
}

function plainProblems(value: unknown, type: string): string[] {
  switch (type) {
    case 'string':
    case 'boolean':
      return typeof value === type ? [] : [`must be a ${type}`];
    case 'number':
      return Number.isInteger(value) ? [] : ['must be a whole number'];
    case 'IntOrString':
      return Number.isInteger(value) || typeof value === 'string' ? [] : ['must be a whole number or a string'];
    default:
      throw new Error(`a field of type ${type}: this reader doesn't understand it`);
  }
}
