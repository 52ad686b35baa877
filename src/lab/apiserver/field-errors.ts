/** What is wrong with a field, in the words of k8s.io/apimachinery/pkg/util/validation/field. */
import type { StatusCause } from './status.ts';

/** Texts are quoted as Go's %q does, everything else is printed as JSON. */
function show(value: unknown): string {
  return JSON.stringify(value) ?? 'null';
}

export function invalidValue(field: string, value: unknown, detail: string): StatusCause {
  return { reason: 'FieldValueInvalid', message: `Invalid value: ${show(value)}: ${detail}`, field };
}

export function requiredValue(field: string, detail = ''): StatusCause {
  return { reason: 'FieldValueRequired', message: `Required value${detail === '' ? '' : `: ${detail}`}`, field };
}

export function duplicateValue(field: string, value: unknown): StatusCause {
  return { reason: 'FieldValueDuplicate', message: `Duplicate value: ${show(value)}`, field };
}

export function notSupported(field: string, value: unknown, supported: readonly string[]): StatusCause {
  const list = [...supported].sort().map(show).join(', ');
  return {
    reason: 'FieldValueNotSupported',
    message: `Unsupported value: ${show(value)}: supported values: ${list}`,
    field,
  };
}

export function forbiddenField(field: string, detail: string): StatusCause {
  return { reason: 'FieldValueForbidden', message: `Forbidden: ${detail}`, field };
}

export function tooMany(field: string, count: number, limit: number): StatusCause {
  return { reason: 'FieldValueTooMany', message: `Too many: ${count}: must have at most ${limit} items`, field };
}

const labelForm = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const label = new RegExp(`^${labelForm}$`);
const subdomain = new RegExp(`^${labelForm}(\\.${labelForm})*$`);

/** Why a text isn't an RFC 1123 label, undefined when it is one. */
export function labelProblem(text: string): string | undefined {
  if (text.length > 63) return 'must be no more than 63 characters';
  if (label.test(text)) return undefined;
  return (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end " +
    `with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '${labelForm}')`
  );
}

/** Why a text isn't an RFC 1123 subdomain, undefined when it is one. */
export function subdomainProblem(text: string): string | undefined {
  if (text.length > 253) return 'must be no more than 253 characters';
  if (subdomain.test(text)) return undefined;
  return (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start " +
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is " +
    `'${labelForm}(\\.${labelForm})*')`
  );
}

/** Checks a port number. */
export function portProblem(field: string, port: unknown): StatusCause | undefined {
  if (typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= 65_535) return undefined;
  return invalidValue(field, port ?? 0, 'must be between 1 and 65535, inclusive');
}

/** Drops the checks that found nothing. */
export function found(...causes: readonly (StatusCause | undefined)[]): StatusCause[] {
  return causes.filter(cause => cause !== undefined);
}
