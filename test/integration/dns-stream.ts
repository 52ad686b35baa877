import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../src/lab/lab.ts';
import { clusterDns, webName } from '../../src/lab/layout.ts';

export interface Streamed {
  readonly sent: number;
  readonly lost: readonly number[];
  readonly wrong: readonly string[];
}

/** 500 questions a second from a member, until it's ended. */
export function askAllTheTime(lab: Lab, from: string): { end(): Promise<Streamed> } {
  const script = fileURLToPath(new URL('./dns-stream-main.ts', import.meta.url));
  const command = ['netns', 'exec', lab.netns(from), process.execPath, script, clusterDns.clusterIP, webName, '500'];
  const child = spawn('ip', command, { stdio: ['pipe', 'pipe', 'inherit'] });
  const output = text(child.stdout);
  return {
    async end() {
      child.stdin.end();
      return JSON.parse(await output) as Streamed;
    },
  };
}
