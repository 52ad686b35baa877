/**
 * Label and field selectors, as text and as predicates.
 * Source: k8s.io/apimachinery/pkg/labels/selector.go and pkg/fields/selector.go.
 */
import { type StoredObject, valueAt } from './objects.ts';
import type { Resource } from './resource.ts';
import { badRequest } from './status.ts';

export type Matcher = (object: StoredObject) => boolean;

type LabelMatcher = (labels: Readonly<Record<string, string>>) => boolean;

const requirementPattern =
  /^\s*(?:(?<absent>!)\s*)?(?<key>[A-Za-z0-9][-A-Za-z0-9_./]*)\s*(?:(?<set>in|notin)\s*\((?<members>[^()]*)\)|(?<operator>==|!=|=|>|<)\s*(?<value>[-A-Za-z0-9_.]*))?\s*$/;

/** Splits at commas outside parentheses. */
function splitRequirements(text: string): string[] {
  return text.split(/,(?![^(]*\))/);
}

function parseRequirement(text: string): LabelMatcher {
  const groups = requirementPattern.exec(text)?.groups;
  const key = groups?.key;
  if (groups === undefined || key === undefined) {
    throw badRequest(`unable to parse requirement: ${JSON.stringify(text)} is not a label requirement`);
  }
  const { absent, set, members, operator, value = '' } = groups;
  if (absent !== undefined) return labels => labels[key] === undefined;
  if (set !== undefined) {
    const values = new Set((members ?? '').split(',').map(member => member.trim()));
    // "notin" holds for objects that don't have the label at all.
    if (set === 'in') return labels => labels[key] !== undefined && values.has(labels[key]);
    return labels => labels[key] === undefined || !values.has(labels[key]);
  }
  switch (operator) {
    case undefined:
      return labels => labels[key] !== undefined;
    case '!=':
      return labels => labels[key] !== value;
    case '>':
      return labels => Number(labels[key]) > Number(value);
    case '<':
      return labels => Number(labels[key]) < Number(value);
    default:
      return labels => labels[key] === value;
  }
}

/** The predicate of a label selector such as `a=b,c in (d,e),!f`. Throws a 400 when it can't be read. */
export function parseLabelSelector(text: string): Matcher | undefined {
  if (text.trim() === '') return undefined;
  const requirements = splitRequirements(text).map(parseRequirement);
  return object => {
    const labels = object.metadata.labels ?? {};
    return requirements.every(matches => matches(labels));
  };
}

/** The predicate of a Service's `spec.selector`: every label must be equal. */
export function matchesLabels(selector: Readonly<Record<string, string>>, object: StoredObject): boolean {
  const labels = object.metadata.labels ?? {};
  return Object.keys(selector).every(key => labels[key] === selector[key]);
}

/** The stored name of a field: resources that share objects may call it otherwise. */
function storedPath(resource: Resource, path: string): string {
  const [head, ...rest] = path.split('.');
  const rename = resource.storedAs?.renames.find(([, served]) => served === head);
  return [rename?.[0] ?? head, ...rest].join('.');
}

function fieldText(object: StoredObject, path: string): string {
  const value = valueAt(object, path);
  return value === undefined || value === null ? '' : String(value);
}

function parseFieldRequirement(resource: Resource, text: string): Matcher {
  const found = /^\s*(?<path>[^=!]+?)\s*(?<operator>==|!=|=)\s*(?<value>.*?)\s*$/.exec(text)?.groups;
  if (found === undefined) throw badRequest(`invalid selector: '${text}'; can't understand '${text}'`);
  const { path = '', operator, value = '' } = found;
  const known = ['metadata.name', ...(resource.namespaced ? ['metadata.namespace'] : []), ...resource.fieldSelectors];
  if (!known.includes(path)) throw badRequest(`field label not supported: ${path}`);
  const stored = storedPath(resource, path);
  return operator === '!='
    ? object => fieldText(object, stored) !== value
    : object => fieldText(object, stored) === value;
}

/** The predicate of a field selector such as `metadata.name=a,spec.clusterIP!=None`; 400 for fields not offered. */
export function parseFieldSelector(resource: Resource, text: string): Matcher | undefined {
  if (text.trim() === '') return undefined;
  const requirements = text.split(',').map(part => parseFieldRequirement(resource, part));
  return object => requirements.every(matches => matches(object));
}

/** Both selectors of a request as one predicate; undefined when everything matches. */
export function parseSelectors(resource: Resource, labelSelector: string, fieldSelector: string): Matcher | undefined {
  const byLabel = parseLabelSelector(labelSelector);
  const byField = parseFieldSelector(resource, fieldSelector);
  if (byLabel === undefined) return byField;
  if (byField === undefined) return byLabel;
  return object => byLabel(object) && byField(object);
}
