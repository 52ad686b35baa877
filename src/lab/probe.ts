/** Asks lab pods who they are, over many connections from one process. Runs inside a namespace; imports nothing heavy. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Answer } from './echo.ts';
import { UdpClient } from './udp-client.ts';

export interface ProbeRequest {
  readonly address: string;
  readonly port: number;
  readonly protocol: 'tcp' | 'udp';
  /** How many connections; with `untilPod`, the most. Each is a new socket, so a new source port. */
  readonly count: number;
  readonly concurrency: number;
  /** For one connection, from connect to answer. */
  readonly timeoutMs: number;
  /** Stop as soon as this pod answered. */
  readonly untilPod?: string;
  /** For the whole probe. */
  readonly deadlineMs?: number;
  /** Between a result and the next connection; default none. */
  readonly pauseMs?: number;
  /** UDP: each worker asks from one socket all the time, so from one port, as a resolver or a game does. */
  readonly keepsPort?: boolean;
}

export interface ProbeReply extends Answer {
  /** Milliseconds from connect to answer. */
  readonly ms: number;
  /** When the answer came, in milliseconds since the epoch: comparable between processes of one machine. */
  readonly at: number;
}

export interface ProbeFailure {
  /** An errno name such as ECONNREFUSED, `timeout`, or what was wrong with the answer. */
  readonly error: string;
  /** Milliseconds from connect to failure. */
  readonly ms: number;
  readonly at: number;
}

export interface ProbeReport {
  readonly replies: readonly ProbeReply[];
  readonly failures: readonly ProbeFailure[];
}

/** Milliseconds since the epoch, with fractions. */
export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

export interface ProbeOptions {
  /** Called at each result. */
  readonly onResult?: () => void;
  /** Once it is aborted, no connection is begun. */
  readonly signal?: AbortSignal;
}

/** Opens the connections and reports who answered. Never rejects for a failed connection: those are in `failures`. */
export async function probe(request: ProbeRequest, { onResult, signal }: ProbeOptions = {}): Promise<ProbeReport> {
  const replies: ProbeReply[] = [];
  const failures: ProbeFailure[] = [];
  const end = performance.now() + (request.deadlineMs ?? Number.POSITIVE_INFINITY);
  let left = request.count;
  let isFound = false;
  const worker = async () => {
    const keeper = request.keepsPort === true ? new UdpClient(request) : undefined;
    const ask = keeper === undefined ? (request.protocol === 'tcp' ? askTcp : askUdp) : () => keeper.ask();
    while (left > 0 && !isFound && signal?.aborted !== true && performance.now() < end) {
      left--;
      const started = performance.now();
      try {
        const answer = parseAnswer(await ask(request));
        replies.push({ ...answer, ms: performance.now() - started, at: epochMs() });
        isFound ||= answer.pod === request.untilPod;
      } catch (error) {
        failures.push({ error: describe(error), ms: performance.now() - started, at: epochMs() });
      }
      onResult?.();
      if (request.pauseMs !== undefined) await delay(request.pauseMs);
    }
    keeper?.close();
  };
  await Promise.all(Array.from({ length: Math.min(request.concurrency, request.count) }, worker));
  return { replies, failures };
}

function askTcp({ address, port, timeoutMs }: ProbeRequest): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ host: address, port, noDelay: true });
    const timer = setTimeout(() => socket.destroy(new Error('timeout')), timeoutMs);
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write('who\n'));
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (text.endsWith('\n')) socket.end();
    });
    socket.on('error', reject);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve(text);
    });
  });
}

function askUdp({ address, port, timeoutMs }: ProbeRequest): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const finish = (settle: () => void) => {
      clearTimeout(timer);
      socket.close();
      settle();
    };
    const timer = setTimeout(() => finish(() => reject(new Error('timeout'))), timeoutMs);
    socket.on('error', error => finish(() => reject(error)));
    socket.on('message', message => finish(() => resolve(message.toString('utf8'))));
    socket.connect(port, address, () => socket.send('who\n')); // connected, so that an ICMP refusal reaches us
  });
}

function parseAnswer(text: string): Answer {
  if (!text.endsWith('\n')) throw new Error('closed without an answer');
  const answer: Answer = JSON.parse(text);
  return answer;
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}
