/**
 * dns-stream-main.ts SERVER NAME RATE: asks a server for a name's address, RATE times a second, each time from another of some ports, until its standard
 * input ends. Prints `{"sent": number, "lost": [when in ms, ...], "wrong": [...]}`: each question is asked once.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { encoded } from '../conformance/runner/dns/ask.ts';

const SOCKETS = 16;
const PATIENCE_MS = 2000;
const TICK_MS = 10;
const ID_AT = 0;
const RCODE_AT = 3;

const [server = '', name = '', rate = '100'] = process.argv.slice(2);
const question = encoded({ type: 'query', flags: 0x100, questions: [{ type: 'A', name }] });
const waiting = new Map<number, number>();
const wrong: string[] = [];
let sent = 0;

const sockets = Array.from({ length: SOCKETS }, () => {
  const socket = createSocket(server.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', answer => {
    waiting.delete(answer.readUInt16BE(ID_AT));
    if ((answer[RCODE_AT]! & 15) !== 0) wrong.push(`rcode ${answer[RCODE_AT]! & 15}`);
  });
  socket.on('error', error => wrong.push(error.message));
  return socket;
});

function ask(): void {
  const id = sent % 65_536;
  const asked = Buffer.from(question);
  asked.writeUInt16BE(id, ID_AT);
  waiting.set(id, Math.round(performance.now()));
  sockets[sent % SOCKETS]!.send(asked, 53, server);
  sent += 1;
}

const startedAt = performance.now();
const ticking = setInterval(() => {
  const due = ((performance.now() - startedAt) * Number(rate)) / 1000;
  while (sent < due) ask();
}, TICK_MS);
process.stdin.resume();
await once(process.stdin, 'end');
clearInterval(ticking);
const end = performance.now() + PATIENCE_MS;
while (waiting.size > 0 && performance.now() < end) await new Promise(resolve => setTimeout(resolve, TICK_MS));
process.stdout.write(JSON.stringify({ sent, lost: [...waiting.values()], wrong }), () => process.exit());
