/** An error on its way from a worker to the main thread, which tells of it. */
import type { FromWorker } from './messages.ts';

type Fault = Extract<FromWorker, { readonly kind: 'fault' }>;

/** Text only: what else an error has may not be cloned, and then the sending would be another error. */
export function faultOf(error: unknown): Fault {
  return { kind: 'fault', message: messageOf(error), stack: error instanceof Error ? error.stack : undefined };
}

/** As it was, as far as it was sent. */
export function errorOf({ message, stack }: Fault): Error {
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
