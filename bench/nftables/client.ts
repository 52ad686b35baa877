/**
 * client.ts IP GATEWAY: tells its process ID; at the first line of its input it takes the address, and then answers each line `IP PORT COUNT` with how many
 * ms so many connections took.
 */
import { createInterface } from 'node:readline';
import { run } from '../../src/linux/exec.ts';
import { connectTimes, loadSockets } from './sockets.ts';

const [ip = '', gateway = ''] = process.argv.slice(2);
const sockets = await loadSockets();
process.stdout.write(`${process.pid}\n`);
let isUp = false;
for await (const line of createInterface(process.stdin)) {
  if (!isUp) {
    await run('ip', ['address', 'add', `${ip}/32`, 'dev', 'eth0']);
    await run('ip', ['link', 'set', 'eth0', 'up']);
    await run('ip', ['route', 'add', 'default', 'via', gateway, 'dev', 'eth0', 'onlink']);
    isUp = true;
    process.stdout.write('up\n');
    continue;
  }
  const [to = '', port, count] = line.split(' ');
  process.stdout.write(`${connectTimes(sockets, { ip: to, port: Number(port) }, Number(count))}\n`);
}
