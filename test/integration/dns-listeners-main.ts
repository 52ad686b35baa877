/** In a network namespace of its own: what a worker's listeners do when an address goes that they have. Prints what came of it as JSON. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { Listeners } from '../../src/dns/worker/listeners.ts';
import { run } from '../../src/linux/exec.ts';

const PATIENCE_MS = 1000;
const KEPT = { address: '127.0.0.1', port: 5300 };
const GOES = { address: '192.0.2.5', port: 5300 };

async function isAnswered({ address, port }: typeof KEPT): Promise<boolean> {
  const socket = createSocket('udp4');
  try {
    socket.connect(port, address);
    await once(socket, 'connect');
    const answered = once(socket, 'message', { signal: AbortSignal.timeout(PATIENCE_MS) });
    socket.send('question');
    await answered;
    return true;
  } catch {
    return false; // nobody listens there
  } finally {
    socket.close();
  }
}

const gone = (state: 'add' | 'del') => run('ip', ['address', state, `${GOES.address}/32`, 'dev', 'lo']);

await run('ip', ['link', 'set', 'lo', 'up']);
await gone('add');
const listeners = new Listeners(message => Buffer.from(message));
const opened = await listeners.set([KEPT, GOES]);
await gone('del');
const closed = await listeners.set([KEPT]);
await gone('add');
const withoutListener = await isAnswered(GOES);
const reopened = await listeners.set([KEPT, GOES]);
const answered = [await isAnswered(KEPT), await isAnswered(GOES)];
// A question from port 0, which no socket can send.
await run('nft', ['add', 'table', 'ip', 't']);
await run('nft', ['add', 'chain', 'ip', 't', 'c', '{ type filter hook output priority 0; }']);
await run('nft', ['add', 'rule', 'ip', 't', 'c', 'udp dport 5300 udp sport set 0']);
const fromPort0 = await isAnswered(KEPT);
await run('nft', ['delete', 'table', 'ip', 't']);
const afterPort0 = await isAnswered(KEPT);
await listeners.set([]);
process.stdout.write(JSON.stringify({ opened, closed, withoutListener, reopened, answered, fromPort0, afterPort0 }));
