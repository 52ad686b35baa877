/** One call to come, at the earliest of the times that were asked for. */
export class Wake implements Disposable {
  readonly #call: () => void;
  #timer: NodeJS.Timeout | undefined;
  #atMs = Number.POSITIVE_INFINITY;
  #isClosed = false;

  constructor(call: () => void) {
    this.#call = call;
  }

  after(ms: number): void {
    const atMs = performance.now() + ms;
    if (this.#isClosed || atMs >= this.#atMs) return;
    clearTimeout(this.#timer);
    this.#atMs = atMs;
    this.#timer = setTimeout(() => {
      this.#atMs = Number.POSITIVE_INFINITY;
      this.#call();
    }, ms);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }
}
