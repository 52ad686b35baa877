/** New connections from one address, and what became of each. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { Arrival, Attempt, AttemptParams } from './sockets.ts';
import { PROBE_WORD } from './sockets.ts';

/** Ends the port unreachable of REJECT (and its relatives) or a reset. */
const REFUSALS: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'EACCES', 'ECONNRESET']);
/** What send() says of a datagram that a rule of OUTPUT dropped. */
const DROPPED_AT_ONCE = 'EPERM';
const CONCURRENCY = 4;

/** Makes `count` connections, some at a time; none any more once one isn't answered. */
export async function attemptAll(params: AttemptParams): Promise<readonly Attempt[]> {
  const attempts: Attempt[] = [];
  let left = params.count;
  const worker = async () => {
    while (left > 0) {
      left -= 1;
      const attempt = await (params.protocol === 'TCP' ? attemptTcp(params) : attemptUdp(params));
      attempts.push(attempt);
      if (attempt.kind !== 'answered') left = 0;
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, params.count) }, worker));
  return attempts;
}

function attemptTcp({ source, destination, port, timeoutMs }: AttemptParams): Promise<Attempt> {
  return new Promise(resolve => {
    let text = '';
    let localPort = 0;
    const socket = connect({ host: destination, port, localAddress: source });
    const finish = (attempt: Attempt) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(attempt);
    };
    const timer = setTimeout(() => finish({ kind: 'silent' }), timeoutMs);
    socket.setEncoding('utf8');
    socket.on('connect', () => {
      localPort = socket.localPort ?? 0;
    });
    socket.on('data', (chunk: string) => {
      text += chunk;
    });
    socket.on('error', error => finish(failureOf(error)));
    socket.on('end', () => finish(answered(text, localPort)));
  });
}

function attemptUdp({ source, destination, port, timeoutMs }: AttemptParams): Promise<Attempt> {
  return new Promise(resolve => {
    const socket = createSocket(destination.includes(':') ? 'udp6' : 'udp4');
    let isFinished = false;
    const finish = (attempt: Attempt) => {
      if (isFinished) return;
      isFinished = true;
      clearTimeout(timer);
      socket.close();
      resolve(attempt);
    };
    const timer = setTimeout(() => finish({ kind: 'silent' }), timeoutMs);
    socket.on('error', error => finish(failureOf(error)));
    socket.on('message', message => finish(answered(message.toString('utf8'), socket.address().port)));
    socket.bind(0, source, () => {
      // Connected, so that a refusal by ICMP reaches us.
      socket.connect(port, destination, () => {
        socket.send(PROBE_WORD, error => {
          // A drop is silence; the timer ends the attempt, and whatever else comes.
          if (error !== null && codeOf(error) !== DROPPED_AT_ONCE) finish(failureOf(error));
        });
      });
    });
  });
}

function answered(text: string, localPort: number): Attempt {
  if (text === '') return { kind: 'error', error: 'closed without an answer' };
  return { kind: 'answered', by: JSON.parse(text) as Arrival, localPort };
}

function failureOf(error: Error): Attempt {
  const code = codeOf(error);
  return REFUSALS.has(code) ? { kind: 'refused' } : { kind: 'error', error: code };
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.message;
}
