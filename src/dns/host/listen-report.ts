import { isDeepStrictEqual } from 'node:util';
import type { Logger } from '../../log.ts';
import type { ListenFailure, SocketAddress } from '../worker/messages.ts';

/** Says where names are answered, and where they can't be: when that changes. */
export class ListenReport {
  readonly #log: Logger;
  #answered: readonly SocketAddress[] = [];
  failures: readonly ListenFailure[] = [];
  /** It was tried. */
  isKnown = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** It is known where to answer, and that is nowhere. */
  get hasNoAddress(): boolean {
    return this.isKnown && this.#answered.length + this.failures.length === 0;
  }

  note(addresses: readonly SocketAddress[], failures: readonly ListenFailure[]): void {
    const isNew = !isDeepStrictEqual(failures, this.failures);
    this.failures = failures;
    this.isKnown = true;
    for (const { address, port, message } of isNew ? failures : []) {
      this.#log.error({ address, port }, `no names at ${address} port ${port}: ${message}; tried again every second`);
    }
    const answered = addresses.filter(where => !this.hasFailed(where));
    if (!isDeepStrictEqual(answered, this.#answered))
      this.#log.info({ addresses: answered }, 'names are answered at these');
    this.#answered = answered;
  }

  hasFailed({ address, port }: SocketAddress): boolean {
    return this.failures.some(one => one.address === address && one.port === port);
  }

  forget(): void {
    this.#answered = [];
    this.failures = [];
    this.isKnown = false;
  }
}
