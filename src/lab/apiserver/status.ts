/**
 * The `Status` answers of the API server: metav1.Status with the reasons and texts of
 * k8s.io/apimachinery/pkg/api/errors, as recorded in the watch vectors.
 */
import { isJsonObject, type JsonObject } from './objects.ts';
import type { Resource } from './resource.ts';

export interface StatusCause {
  readonly reason: string;
  readonly message: string;
  readonly field?: string;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly causes?: readonly StatusCause[];
  readonly retryAfterSeconds?: number;
}

export interface StatusOptions {
  readonly reason?: string;
  readonly details?: StatusDetails;
  /** Goes to `metadata.continue`: where an expired list may go on inconsistently. */
  readonly continueToken?: string;
}

/** What the API server answers instead of an object. `code` is the HTTP status. */
export class StatusError extends Error {
  override readonly name = 'StatusError';
  readonly code: number;
  readonly options: StatusOptions;

  constructor(code: number, message: string, options: StatusOptions = {}) {
    super(message);
    this.code = code;
    this.options = options;
  }

  /** The answer's body. */
  get body(): JsonObject {
    const { reason, details, continueToken } = this.options;
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: continueToken === undefined ? {} : { continue: continueToken },
      status: 'Failure',
      message: this.message,
      ...(reason === undefined ? {} : { reason }),
      ...(details === undefined ? {} : { details }),
      code: this.code,
    };
  }
}

/** How error texts name a resource: `services`, `endpointslices.discovery.k8s.io`. */
export function qualifiedName(resource: Resource): string {
  return resource.group === '' ? resource.plural : `${resource.plural}.${resource.group}`;
}

function detailsOf(resource: Resource, name: string, kind: string): StatusDetails {
  return resource.group === '' ? { name, kind } : { name, group: resource.group, kind };
}

export function notFound(resource: Resource, name: string): StatusError {
  const details = detailsOf(resource, name, resource.plural);
  return new StatusError(404, `${qualifiedName(resource)} "${name}" not found`, { reason: 'NotFound', details });
}

export function noSuchResource(): StatusError {
  return new StatusError(404, 'the server could not find the requested resource', { reason: 'NotFound', details: {} });
}

export function alreadyExists(resource: Resource, name: string): StatusError {
  const details = detailsOf(resource, name, resource.plural);
  return new StatusError(409, `${qualifiedName(resource)} "${name}" already exists`, {
    reason: 'AlreadyExists',
    details,
  });
}

/** A write on a version that is no longer the newest, or a precondition that doesn't hold. */
export function conflict(resource: Resource, name: string, why?: string): StatusError {
  const reason = why ?? 'the object has been modified; please apply your changes to the latest version and try again';
  const message = `Operation cannot be fulfilled on ${qualifiedName(resource)} "${name}": ${reason}`;
  return new StatusError(409, message, { reason: 'Conflict', details: detailsOf(resource, name, resource.plural) });
}

export function forbidden(resource: Resource, name: string, why: string): StatusError {
  const details = detailsOf(resource, name, resource.plural);
  const message = `${qualifiedName(resource)} "${name}" is forbidden: ${why}`;
  return new StatusError(403, message, { reason: 'Forbidden', details });
}

/** 422 with one cause per field; `kind` is the object's kind, not the resource. */
export function invalid(group: string, kind: string, name: string, causes: readonly StatusCause[]): StatusError {
  const texts = causes.map(cause => `${cause.field}: ${cause.message}`);
  const list = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`;
  const qualified = group === '' ? kind : `${kind}.${group}`;
  const details = { ...(name === '' ? {} : { name }), ...(group === '' ? {} : { group }), kind, causes };
  return new StatusError(422, `${qualified} "${name}" is invalid: ${list}`, { reason: 'Invalid', details });
}

export function badRequest(message: string): StatusError {
  return new StatusError(400, message, { reason: 'BadRequest' });
}

export function methodNotAllowed(): StatusError {
  const message = 'the server does not allow this method on the requested resource';
  return new StatusError(405, message, { reason: 'MethodNotAllowed', details: {} });
}

export function unauthorized(): StatusError {
  return new StatusError(401, 'Unauthorized', { reason: 'Unauthorized' });
}

/** 410 of a watch whose start the server has forgotten. `oldest` is the newest version that is forgotten. */
export function tooOldVersion(requested: number, oldest: number): StatusError {
  return new StatusError(410, `too old resource version: ${requested} (${oldest})`, { reason: 'Expired' });
}

/** 410 of a list or page; with a token the client may take an inconsistent rest. */
export function expiredList(continueToken?: string): StatusError {
  if (continueToken === undefined) {
    const message = 'The resourceVersion for the provided list is too old.';
    return new StatusError(410, message, { reason: 'Expired' });
  }
  const message =
    'The provided continue parameter is too old to display a consistent list result. You can start a new list without ' +
    'the continue parameter, or use the continue token in this response to retrieve the remainder of the results. ' +
    'Continuing with the provided token results in an inconsistent list - objects that were created, modified, or ' +
    'deleted between the time the first chunk was returned and now may show up in the list.';
  return new StatusError(410, message, { reason: 'Expired', continueToken });
}

/** 504 of a read that asks for a version which the server hasn't reached. */
export function tooLargeVersion(requested: number, current: number): StatusError {
  const causes = [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }];
  return new StatusError(504, `Timeout: Too large resource version: ${requested}, current: ${current}`, {
    reason: 'Timeout',
    details: { causes, retryAfterSeconds: 1 },
  });
}

/** A resourceVersion that isn't a number; a real server lets it through to storage and answers 500. */
export function malformedVersion(text: string): StatusError {
  const quoted = JSON.stringify(text);
  return new StatusError(
    500,
    `resourceVersion: Invalid value: ${quoted}: strconv.ParseUint: parsing ${quoted}: invalid syntax`,
  );
}

/** Any thrown value as a StatusError; what isn't one becomes 500 InternalError. */
export function toStatusError(error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  const message = `Internal error occurred: ${error instanceof Error ? error.message : String(error)}`;
  return new StatusError(500, message, { reason: 'InternalError', details: { causes: [{ reason: '', message }] } });
}

/** The answer to a DELETE that doesn't return the object. */
export function deletedStatus(resource: Resource, name: string, uid: string): JsonObject {
  const details = { ...detailsOf(resource, name, resource.plural), uid };
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
}

/** True when a decoded body is a Status object. */
export function isStatus(value: unknown): boolean {
  return isJsonObject(value) && value.kind === 'Status';
}
