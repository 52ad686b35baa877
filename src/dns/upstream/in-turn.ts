/** Asking several for the same: one after the other, but not waiting for ever for each. */

export interface InTurn<Subject, Result> {
  /** In the order in which they are asked. One may stand there several times: it's asked again when nobody said anything, never when it did. */
  readonly subjects: readonly Subject[];
  /**
   * Undefined = nothing came. Never rejects; its signal is aborted as soon as the result isn't wanted any more, with who gave it as the reason, if anybody did.
   * `offer` takes what is better than nothing when time is up.
   */
  readonly ask: (subject: Subject, signal: AbortSignal, offer: (result: Result) => void) => Promise<Result | undefined>;
  readonly isGood: (result: Result) => boolean;
  /** After so long without a result the next one is asked too; one that was asked before, after `repeatMs`. */
  readonly hedgeMs: number;
  readonly repeatMs: number;
  readonly mostMs: number;
}

/** The first good result; where there is none in time, one that was offered, or the first one at all; undefined = none in time. */
export function askInTurn<Subject, Result>(options: InTurn<Subject, Result>): Promise<Result | undefined> {
  const turns = new Turns(options);
  turns.next();
  return turns.result;
}

class Turns<Subject, Result> {
  readonly #options: InTurn<Subject, Result>;
  readonly #settled = Promise.withResolvers<Result | undefined>();
  readonly #end = new AbortController();
  readonly #answered = new Set<Subject>();
  readonly #deadline: NodeJS.Timeout;
  #hedge: NodeJS.Timeout | undefined;
  #turn = 0;
  #running = 0;
  #poor: Result | undefined;
  #offered: Result | undefined;

  constructor(options: InTurn<Subject, Result>) {
    this.#options = options;
    this.#deadline = setTimeout(() => this.#settle(this.#offered ?? this.#poor), options.mostMs);
  }

  get result(): Promise<Result | undefined> {
    return this.#settled.promise;
  }

  next(): void {
    if (this.#end.signal.aborted) return;
    clearTimeout(this.#hedge);
    const { subjects, hedgeMs, repeatMs } = this.#options;
    while (this.#turn < subjects.length && this.#answered.has(subjects[this.#turn]!)) this.#turn += 1;
    const subject = subjects[this.#turn];
    this.#turn += 1;
    if (subject === undefined) {
      if (this.#running === 0) this.#settle(this.#poor);
      return;
    }
    this.#running += 1;
    const isRepeat = subjects.indexOf(subjects[this.#turn]!) < this.#turn;
    this.#hedge = setTimeout(() => this.next(), isRepeat ? repeatMs : hedgeMs);
    void this.#ask(subject);
  }

  async #ask(subject: Subject): Promise<void> {
    const { ask, isGood } = this.#options;
    const result = await ask(subject, this.#end.signal, offered => {
      if (isGood(offered)) this.#offered ??= offered;
    });
    this.#running -= 1;
    if (result !== undefined && isGood(result)) {
      this.#settle(result, subject);
      return;
    }
    if (result !== undefined) this.#answered.add(subject);
    this.#poor ??= result;
    this.next();
  }

  #settle(result: Result | undefined, by?: Subject): void {
    clearTimeout(this.#hedge);
    clearTimeout(this.#deadline);
    this.#settled.resolve(result);
    this.#end.abort(by);
  }
}
