/**
 * udp-talk-main.ts ADDRESS PORT TIMEOUT: a UDP client that keeps its one socket. For each line on its standard input it sends a datagram, and
 * prints who answered, or the error, or `timeout`.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const [address = '', port = '', timeoutMs = ''] = process.argv.slice(2);
const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
socket.connect(Number(port), address); // connected, so that an ICMP refusal reaches us
await once(socket, 'connect');
process.stdout.write(`${socket.address().port}\n`);

function ask(): Promise<string> {
  return new Promise(resolve => {
    const settle = (outcome: string) => {
      clearTimeout(timer);
      socket.removeAllListeners();
      resolve(outcome);
    };
    const timer = setTimeout(() => settle('timeout'), Number(timeoutMs));
    socket.once('message', message => settle(JSON.parse(message.toString('utf8')).pod));
    socket.once('error', (error: NodeJS.ErrnoException) => settle(error.code ?? error.message));
    socket.send('who\n');
  });
}

for await (const _ of createInterface(process.stdin)) process.stdout.write(`${await ask()}\n`);
process.exit();
