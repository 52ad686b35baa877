/** The host's functions by name in a real process: cni-host-main.ts, compiled as the plugin is. */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Call, Gave } from './cni-host-main.ts';

export const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));
export const NOBODY = 65_534;
export const MB = 1_000_000;

export interface Ended {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class HostLab {
  /** Everybody may look into it. */
  readonly directory = mkdtempSync(join(tmpdir(), 'cni-host-'));
  readonly program = join(this.directory, 'host');

  constructor() {
    chmodSync(this.directory, 0o755);
    execFileSync(process.execPath, [here('../../scripts/build-cni.mjs'), here('./cni-host-main.ts'), this.program]);
  }

  remove(): void {
    rmSync(this.directory, { recursive: true });
  }

  start(calls: readonly Call[], options: SpawnOptions = {}, command = [this.program]): ChildProcess {
    const env = { ...process.env, ASK: JSON.stringify(calls) };
    return spawn(command[0]!, command.slice(1), { stdio: 'pipe', ...options, env: { ...env, ...options.env } });
  }

  /** What each gave; the program ended well and said nothing else. */
  async ask(calls: readonly Call[], input: string | Buffer = '', options: SpawnOptions = {}): Promise<Gave[]> {
    const child = this.start(calls, options);
    child.stdin!.on('error', () => undefined); // it needn't read all
    child.stdin!.end(input);
    const { status, stdout, stderr } = await ended(child);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return JSON.parse(stdout);
  }

  async askOne(name: Call['name'], args: readonly unknown[] = [], input: string | Buffer = ''): Promise<Gave> {
    return (await this.ask([{ name, args }], input))[0]!;
  }

  /** Runs a shell's preparations in a mount and a network namespace, and then the calls. */
  async askWithin(preparation: string, calls: readonly Call[], after = ''): Promise<string> {
    const command = ['unshare', '--mount', '--net', 'sh', '-ec', `${preparation}\n"$0"\n${after}`, this.program];
    const { status, stdout, stderr } = await ended(this.start(calls, {}, command));
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout;
  }
}

export async function ended(child: ChildProcess): Promise<Ended> {
  const [stdout, stderr, [status]] = await Promise.all([
    child.stdout === null ? '' : text(child.stdout),
    child.stderr === null ? '' : text(child.stderr),
    once(child, 'exit'),
  ]);
  return { status, stdout, stderr };
}
