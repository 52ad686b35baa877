/** One question to an echo server: who answered, and whom it saw. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

export interface Target {
  readonly address: string;
  readonly port: number;
  /** Default tcp. */
  readonly protocol?: 'tcp' | 'udp';
  /** The client's address and port; by default the kernel chooses. */
  readonly from?: string;
  readonly fromPort?: number;
}

const TIMEOUT_MS = 700;

/** `pod clientIP`, or the error's name. */
export async function ask(target: Target): Promise<string> {
  const answer = await (target.protocol === 'udp' ? askUdp(target) : askTcp(target));
  if (!answer.startsWith('{')) return answer;
  const { pod, clientIP } = JSON.parse(answer);
  return `${pod} ${clientIP}`;
}

function askTcp({ address, port, from }: Target): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = connect({ host: address, port, ...(from === undefined ? {} : { localAddress: from }) });
  const timer = setTimeout(() => resolve('timeout'), TIMEOUT_MS);
  socket.on('connect', () => socket.write('who\n'));
  socket.once('data', chunk => resolve(String(chunk).trim()));
  socket.on('error', error => resolve('code' in error ? String(error.code) : error.message));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.destroy();
  });
}

function askUdp({ address, port, from, fromPort = 0 }: Target): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  const timer = setTimeout(() => resolve('timeout'), TIMEOUT_MS);
  socket.on('message', message => resolve(String(message).trim()));
  socket.on('error', error => resolve('code' in error ? String(error.code) : error.message));
  socket.bind(fromPort, from, () => socket.send('who\n', port, address));
  return promise.finally(() => {
    clearTimeout(timer);
    socket.close();
  });
}
