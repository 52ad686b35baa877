import { STATUS_CODES } from 'node:http';
import { isRecord } from './fields.ts';

/**
 * Where a request to the API server failed: `credentials` before it, `connection` under it (refused, reset, TLS),
 * `deadline` too slow, `status` the server said no (as HTTP status or as ERROR event), `protocol` it said nonsense.
 */
export type ApiErrorKind = 'credentials' | 'connection' | 'deadline' | 'status' | 'protocol';

export interface ApiErrorDetails {
  /** HTTP status, also that of an ERROR event; 0 when there was no answer. */
  readonly status?: number;
  /** Status.reason, such as `Expired`. */
  readonly reason?: string;
  /** How long the server wants to be left alone. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** Every failure of a request to the API server. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly kind: ApiErrorKind;
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs: number;

  constructor(kind: ApiErrorKind, message: string, details: ApiErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.kind = kind;
    this.status = details.status ?? 0;
    this.reason = details.reason ?? '';
    this.retryAfterMs = details.retryAfterMs ?? 0;
  }
}

/** The resourceVersion or page token is gone from the server: list again. */
export function isExpired(error: unknown): boolean {
  return error instanceof ApiError && error.kind === 'status' && error.status === 410;
}

/** The server doesn't know this way of asking (WatchList before Kubernetes 1.32 or switched off: 422; proxies: 400). */
export function isNotSupported(error: unknown): boolean {
  return error instanceof ApiError && error.kind === 'status' && (error.status === 400 || error.status === 422);
}

/** The server's answer made no sense: what is known may be wrong, so list again. */
export function isProtocolError(error: unknown): boolean {
  return error instanceof ApiError && error.kind === 'protocol';
}

/** Seconds or an HTTP date, as milliseconds from `nowMs`; 0 when there is neither (RFC 9110 10.2.3). */
export function parseRetryAfter(header: string | undefined, nowMs: number): number {
  if (header === undefined) return 0;
  if (/^\d+$/.test(header.trim())) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? 0 : Math.max(0, at - nowMs);
}

/** The error that a meta/v1 Status (or any other error body) means. */
export function statusError(httpStatus: number, body: unknown, retryAfterMs = 0): ApiError {
  const status = isRecord(body) ? body : {};
  const details = isRecord(status.details) ? status.details : {};
  const code = typeof status.code === 'number' && status.code > 0 ? status.code : httpStatus;
  const said = typeof body === 'string' ? body.trim() : status.message;
  const text = typeof said === 'string' && said !== '' ? said : (STATUS_CODES[code] ?? 'without a message');
  const inBody = typeof details.retryAfterSeconds === 'number' ? details.retryAfterSeconds * 1000 : 0;
  return new ApiError('status', `${code} ${text.slice(0, 500)}`, {
    status: code,
    reason: typeof status.reason === 'string' ? status.reason : '',
    retryAfterMs: Math.max(inBody, retryAfterMs),
  });
}
