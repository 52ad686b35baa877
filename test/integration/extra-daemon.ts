/** More daemons on a node of a lab than the lab's own: the next version, a second one by mistake. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { kproxyProgram } from '../../src/lab/install.ts';
import type { Lab } from '../../src/lab/lab.ts';
import { awaitEnd, isAlive, launch, markedEnv, type ProcessId, signalProcess } from '../../src/lab/process.ts';
import { eventually, type LogLine } from './daemon-lab.ts';

/** What the lifecycle says when a daemon begins to write. */
const WRITES = /this process writes the rules/;
const HANDED_OVER = /^handed over/;

export interface ExtraOptions {
  readonly node: string;
  /** Of this lab's extra daemons; names the log. */
  readonly name: string;
  /** The configuration file; default: the one of the node's own daemon. */
  readonly config?: string;
}

/** A daemon beside the lab's own, with the same configuration and runtime directory. It's the lab's to end. */
export class ExtraDaemon {
  readonly id: ProcessId;
  /** Resolves to a sentence when it ends, such as `exited with status 0`. */
  readonly ended: Promise<string>;
  readonly #logFile: string;

  private constructor(launched: { id: ProcessId; ended: Promise<string> }, logFile: string) {
    this.id = launched.id;
    this.ended = launched.ended;
    this.#logFile = logFile;
  }

  static async start(lab: Lab, { node, name, config }: ExtraOptions): Promise<ExtraDaemon> {
    const logFile = join(lab.directory, `${node}-${name}.log`);
    const launched = await launch({
      netns: lab.netns(node),
      command: [kproxyProgram, 'run', '--config', config ?? join(lab.directory, `${node}.yaml`)],
      env: markedEnv(lab.name, lab.env(node)),
      logFile,
    });
    return new ExtraDaemon(launched, logFile);
  }

  get lines(): readonly LogLine[] {
    if (!existsSync(this.#logFile)) return [];
    return readFileSync(this.#logFile, 'utf8')
      .split('\n')
      .slice(0, -1)
      .map(line => JSON.parse(line) as LogLine);
  }

  get messages(): readonly string[] {
    return this.lines.map(({ msg }) => msg);
  }

  /** Whether it is the node's writer, by its own log. */
  get isWriting(): boolean {
    return (
      this.lines
        .map(({ msg }) => WRITES.test(msg) || (HANDED_OVER.test(msg) ? false : undefined))
        .findLast(said => said !== undefined) ?? false
    );
  }

  /** Resolves when the log has such a line. */
  async says(what: RegExp): Promise<void> {
    await eventually(() =>
      expect(
        this.messages.filter(line => what.test(line)),
        this.messages.join('\n'),
      ).not.toEqual([]),
    );
  }

  async writes(): Promise<void> {
    await eventually(() => expect(this.isWriting, this.messages.join('\n')).toBe(true));
  }

  async isAlive(): Promise<boolean> {
    return isAlive(this.id);
  }

  async signal(how: NodeJS.Signals): Promise<void> {
    await signalProcess(this.id, how);
  }

  /** Sends a signal that ends it and returns how it ended. */
  async end(how: NodeJS.Signals = 'SIGTERM'): Promise<string> {
    await this.signal(how);
    expect(await awaitEnd([this.id], 10_000)).toEqual([]);
    return this.ended;
  }
}
