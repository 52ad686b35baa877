/**
 * One question to an echo pod over a connection of its own: who it is, and a word that has to come back. Many of them are made one after
 * the other, so a TCP connection is ended with a reset: neither side keeps its port in TIME_WAIT.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { Answer } from './echo.ts';

export interface TrafficTarget {
  readonly address: string;
  readonly port: number;
  /** Default tcp. */
  readonly protocol?: 'tcp' | 'udp';
}

export interface Question {
  readonly target: TrafficTarget;
  /** Without line ends. */
  readonly word: string;
  /** From connect to answer. */
  readonly timeoutMs: number;
}

/**
 * Resolves to the pod that answered. @throws with the error's name as message: an errno, `timeout`, `closed without an answer`, or
 * `answered …` when what came back isn't what was sent
 */
export async function exchange(question: Question): Promise<string> {
  const text = await (question.target.protocol === 'udp' ? askUdp(question) : askTcp(question));
  return podOf(text, question.word);
}

function podOf(text: string, word: string): string {
  const [identity = '', echoed] = text.split('\n');
  if (echoed !== word) throw new Error(`answered '${text.slice(0, 120)}' to '${word}'`);
  const { pod }: Answer = JSON.parse(identity);
  return pod;
}

function askTcp({ target: { address, port }, word, timeoutMs }: Question): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const socket = connect({ host: address, port, noDelay: true });
    const end = startTimeout(timeoutMs, () => socket.destroy(new Error('timeout')));
    socket.setEncoding('utf8');
    socket.on('connect', () => socket.write(`who\n${word}\n`));
    socket.on('data', (chunk: string) => {
      text += chunk;
      if (!isComplete(text)) return;
      resolve(text);
      socket.resetAndDestroy();
    });
    socket.on('error', error => reject(named(error)));
    socket.on('close', () => {
      end();
      reject(new Error('closed without an answer'));
    });
  });
}

function askUdp({ target: { address, port }, word, timeoutMs }: Question): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const finish = (settle: () => void) => {
      end();
      settle();
      socket.close();
    };
    const end = startTimeout(timeoutMs, () => finish(() => reject(new Error('timeout'))));
    socket.once('error', error => finish(() => reject(named(error))));
    socket.once('message', message => finish(() => resolve(message.toString('utf8'))));
    socket.connect(port, address, () => socket.send(`who\n${word}\n`)); // connected, so that an ICMP refusal reaches us
  });
}

/** Both lines are there. */
function isComplete(text: string): boolean {
  return text.endsWith('\n') && text.indexOf('\n') < text.length - 1;
}

/**
 * Calls back unless ended before. When this process was stopped for long, timers are due before the answers that arrived meanwhile are
 * read: those are let first.
 */
function startTimeout(ms: number, callback: () => void): () => void {
  let isOver = false;
  const timer = setTimeout(() => {
    setImmediate(() => {
      if (!isOver) callback();
    });
  }, ms);
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

/** The error with its errno name as message. */
export function named(error: Error): Error {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.message;
  return new Error(code, { cause: error });
}
