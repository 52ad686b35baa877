/** Steady traffic from one member of a lab: new connections by the clock, and held ones that talk all the time. Runs inside a namespace. */
import { exchange, type TrafficTarget } from './exchange.ts';
import { HeldConnection } from './held-connection.ts';
import { epochMs } from './probe.ts';
import { failureKind, type TrafficReport, TrafficTally } from './traffic-tally.ts';

export interface TrafficRequest {
  /** New connections go to each in turn; held ones to each over TCP in turn. */
  readonly targets: readonly TrafficTarget[];
  readonly connectionsPerSecond: number;
  /** How many connections are held. */
  readonly held: number;
  /** For one new connection, from connect to answer. */
  readonly timeoutMs: number;
  /** A held connection whose line isn't back by then has stalled: a failure, whether or not the line comes later. */
  readonly stallMs: number;
}

/** Between the lines of a held connection. */
const heldPauseMs = 50;

/** A machine that was busy for longer than this doesn't get all that it missed at once: it opens what is due of one second. */
const mostCatchUpMs = 1000;

export class Traffic {
  readonly #request: TrafficRequest;
  readonly #tally: TrafficTally;
  readonly #underWay = new Set<Promise<void>>();
  readonly #held: readonly HeldConnection[];
  readonly #clock: NodeJS.Timeout | undefined;
  readonly #first = Promise.withResolvers<void>();
  #due = performance.now();
  #opened = 0;

  /** Starts at once. */
  constructor(request: TrafficRequest) {
    this.#request = request;
    this.#tally = new TrafficTally(epochMs());
    const tcp = request.targets.filter(({ protocol }) => protocol !== 'udp');
    this.#held =
      tcp.length === 0 ? [] : Array.from({ length: request.held }, (_, n) => this.#hold(tcp[n % tcp.length]!));
    if (request.connectionsPerSecond > 0) this.#clock = setInterval(() => this.#tick(), 1);
    else this.#first.resolve();
  }

  /** Resolves when all held connections are open (or failed) and the first new one has its result. */
  async ready(): Promise<void> {
    await Promise.all([this.#first.promise, ...this.#held.map(({ opened }) => opened)]);
  }

  /** Opens nothing more, waits for what is under way, and reports. */
  async stop(): Promise<TrafficReport> {
    clearInterval(this.#clock);
    await Promise.all(this.#underWay);
    for (const connection of this.#held) connection.close();
    return this.#tally.report(epochMs());
  }

  /** Opens what is due by now: a late tick makes up for those that it missed. */
  #tick(): void {
    const now = performance.now();
    const gapMs = 1000 / this.#request.connectionsPerSecond;
    this.#due = Math.max(this.#due, now - mostCatchUpMs);
    for (; this.#due <= now; this.#due += gapMs) this.#open(now - this.#due);
  }

  #open(lagMs: number): void {
    const { targets } = this.#request;
    const target = targets[this.#opened++ % targets.length]!;
    const work = this.#ask(target, lagMs).finally(() => {
      this.#underWay.delete(work);
      this.#first.resolve();
    });
    this.#underWay.add(work);
  }

  async #ask(target: TrafficTarget, lagMs: number): Promise<void> {
    const name = nameOf(target);
    const openedAt = epochMs();
    this.#tally.opened(name, lagMs);
    try {
      const pod = await exchange({ target, word: `word ${this.#opened}`, timeoutMs: this.#request.timeoutMs });
      this.#tally.answered(pod, openedAt, epochMs() - openedAt);
    } catch (error) {
      this.#fail(name, error instanceof Error ? error.message : String(error), false);
    }
  }

  #hold(target: TrafficTarget): HeldConnection {
    this.#tally.heldOpened();
    return new HeldConnection({
      target,
      pauseMs: heldPauseMs,
      stallMs: this.#request.stallMs,
      onAnswer: waitMs => this.#tally.heldAnswered(waitMs),
      onFailure: error => this.#fail(nameOf(target), error, true),
    });
  }

  #fail(target: string, error: string, isHeld: boolean): void {
    this.#tally.failed({ kind: failureKind(error), error, target, isHeld, at: epochMs() });
  }
}

function nameOf({ address, port, protocol = 'tcp' }: TrafficTarget): string {
  return `${address.includes(':') ? `[${address}]` : address}:${port}/${protocol}`;
}
