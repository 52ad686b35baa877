/** Several daemons on one node of a lab, what each says about whether it writes, and tools that can be made slow. */
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { Lab } from '../../src/lab/lab.ts';
import { eventually, type LogLine, logLines } from './daemon-lab.ts';

const WRITES = /this process writes the rules/;
const WRITES_NO_MORE = /^handed over|^this process writes no more/;

/** From taking the lock to giving it up or dying; times are milliseconds since the epoch, by the log. */
interface TenureTimes {
  readonly from: number;
  readonly to: number;
}

type TimedLine = LogLine & { readonly time: string; readonly changes?: number };

/** Programs that change rules, as slow as a test wants them; those of a daemon that was killed change nothing any more. */
export class SlowTools {
  readonly #directory: string;

  constructor(lab: Lab) {
    this.#directory = join(lab.directory, 'slow-tools');
    mkdirSync(this.#directory);
    for (const program of ['iptables-nft-restore', 'ip6tables-nft-restore']) {
      const path = join(this.#directory, program);
      // A daemon starts it through a shell, which outlives it for as long as this runs, or by itself.
      const started = `daemon() { cut -d' ' -f4 "/proc/$PPID/stat" 2>/dev/null; }; by=$(daemon)`;
      const wait = `touch ${this.#busy}; sleep 1.5; [ "$(daemon)" = "$by" ] || exit 1`;
      writeFileSync(
        path,
        `#!/bin/sh\n${started}\nif [ -e ${this.#switch} ]; then ${wait}; fi\nexec /usr/sbin/${program} "$@"\n`,
      );
      chmodSync(path, 0o755);
    }
  }

  /** For the daemons that shall use them. */
  get env(): Record<string, string> {
    return { PATH: `${this.#directory}:${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin` };
  }

  slowDown(): void {
    writeFileSync(this.#switch, '');
  }

  speedUp(): void {
    for (const path of [this.#switch, this.#busy]) rmSync(path, { force: true });
  }

  /** Since `slowDown`, a program has been started. */
  get busyFile(): string {
    return this.#busy;
  }

  get #switch(): string {
    return join(this.#directory, 'slow');
  }

  get #busy(): string {
    return join(this.#directory, 'busy');
  }
}

/** One of several daemons of a node. */
export class ExtraDaemon {
  readonly name: string;
  readonly pid: number;
  /** Settles when it ends, with a sentence such as `exited with status 0`. */
  readonly ended: Promise<string>;
  readonly #lab: Lab;
  /** '' while it lives. */
  #fate = '';
  #endedAt: number | undefined;

  private constructor(lab: Lab, name: string, started: { readonly pid: number; readonly ended: Promise<string> }) {
    this.#lab = lab;
    this.name = name;
    this.pid = started.pid;
    this.ended = started.ended;
    void started.ended.then(how => {
      this.#fate = how;
      this.#endedAt ??= Date.now();
    });
  }

  static async start(
    lab: Lab,
    node: string,
    options: { name: string; env?: Record<string, string>; configuration?: (text: string) => string },
  ): Promise<ExtraDaemon> {
    const { name, ...others } = options;
    const args = ['--v', '4'];
    return new ExtraDaemon(lab, name, await lab.startDaemon(node, { as: name, awaitReady: false, args, ...others }));
  }

  /** How it ended; '' while it lives. */
  get fate(): string {
    return this.#fate;
  }

  get lines(): readonly TimedLine[] {
    return logLines(this.#lab, this.name) as readonly TimedLine[];
  }

  /** When it was the node's writer, by its own log. */
  get tenures(): readonly TenureTimes[] {
    const turns = this.lines.filter(({ msg }) => WRITES.test(msg) || WRITES_NO_MORE.test(msg));
    return turns.flatMap(({ msg, time }, index) => {
      if (!WRITES.test(msg)) return [];
      const end = turns[index + 1];
      return [
        {
          from: Date.parse(time),
          to: end === undefined ? (this.#endedAt ?? Number.POSITIVE_INFINITY) : Date.parse(end.time),
        },
      ];
    });
  }

  get isWriting(): boolean {
    return this.tenures.at(-1)?.to === Number.POSITIVE_INFINITY;
  }

  /** When it changed rules. */
  get changedAt(): readonly number[] {
    return this.lines
      .filter(({ component, changes = 0 }) => component === 'backend' && changes > 0)
      .map(({ time }) => Date.parse(time));
  }

  async writes(): Promise<void> {
    await eventually(() => expect(this.isWriting, this.#text).toBe(true));
  }

  async waits(): Promise<void> {
    await eventually(() => expect(this.lines.length > 0 && !this.isWriting, this.#text).toBe(true));
  }

  /** Resolves when the log has such a line. */
  async says(what: RegExp): Promise<void> {
    await eventually(() => expect(this.#text).toMatch(what));
  }

  signal(how: NodeJS.Signals): void {
    if (this.#fate === '') process.kill(this.pid, how);
  }

  /** Sends a signal that ends it and returns how it ended. */
  async end(how: NodeJS.Signals = 'SIGTERM'): Promise<string> {
    // The next one may begin before we hear of the end.
    if (how === 'SIGKILL') this.#endedAt ??= Date.now();
    this.signal(how);
    return this.ended;
  }

  /** Its log in short, for a test that failed. */
  get story(): string {
    const lines = this.lines.map(({ time, msg }) => `  ${time} ${msg}`);
    return [`${this.name} (process ${this.pid}): ${this.fate || 'alive'}`, ...lines].join('\n');
  }

  get #text(): string {
    return this.lines.map(({ msg }) => msg).join('\n');
  }
}

/** Never did two of them write at a time, and none changed rules while it wasn't the writer. */
export function expectOneWriter(daemons: readonly ExtraDaemon[]): void {
  const tenures = daemons.flatMap(daemon => daemon.tenures.map(times => ({ ...times, name: daemon.name })));
  const inOrder = tenures.toSorted((a, b) => a.from - b.from || a.to - b.to);
  for (const [index, next] of inOrder.slice(1).entries()) {
    const { name, to } = inOrder[index]!;
    expect(to, `${name} still wrote when ${next.name} began`).toBeLessThanOrEqual(next.from);
  }
  for (const { name, tenures: own, changedAt } of daemons) {
    for (const at of changedAt) {
      const isDuring = own.some(({ from, to }) => from <= at && at <= to);
      expect(isDuring, `${name} changed rules at ${new Date(at).toISOString()}, when it was not the writer`).toBe(true);
    }
  }
}
