/** listener.ts IP GATEWAY: tells its process ID; when it is told to go, takes connections at port 8080 of its network namespace and closes them. */
import { once } from 'node:events';
import { run } from '../../src/linux/exec.ts';
import { loadSockets, newSocket, socketAddress } from './sockets.ts';

const [ip = '', gateway = ''] = process.argv.slice(2);
process.stdout.write(`${process.pid}\n`);
await once(process.stdin, 'data');
await run('ip', ['address', 'add', `${ip}/32`, 'dev', 'eth0']);
await run('ip', ['link', 'set', 'eth0', 'up']);
await run('ip', ['route', 'add', 'default', 'via', gateway, 'dev', 'eth0', 'onlink']);
const sockets = await loadSockets();
const fd = newSocket(sockets);
const address = socketAddress(ip, 8080);
if (sockets.bind(fd, address, address.length) !== 0) throw new Error('bind');
sockets.listen(fd, 4096);
process.stdout.write('listening\n');
// Until it is killed.
for (;;) sockets.close(sockets.accept(fd, null, null));
