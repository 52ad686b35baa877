/** A worker of DNS: what is known of the cluster, and the sockets that answer from it. The main thread tells what changes. */
import { parentPort, workerData } from 'node:worker_threads';
import { compactHeap } from '../../heap.ts';
import { QuietCompaction } from '../../quiet-compaction.ts';
import { type DnsChange, Engine } from '../engine.ts';
import { SignsOfLife } from '../node-address/signs-of-life.ts';
import { faultOf, messageOf } from './fault.ts';
import { Heart } from './heart.ts';
import { Listeners } from './listeners.ts';
import type { Call, FromWorker, ToWorker, WorkerCalls, WorkerData } from './messages.ts';
import { Turns } from './turns.ts';

/** Changes in one turn of the event loop: less than a millisecond. */
const CHANGES_PER_TURN = 100;

if (parentPort === null) throw new TypeError('not a worker thread');
const port = parentPort;
const send = (message: FromWorker) => port.postMessage(message);
const onError = (error: unknown) => send(faultOf(error));

const engine = new Engine({
  ...(workerData as WorkerData),
  now: () => performance.now(),
  wallClock: () => Date.now(),
  onUpstreamFailure: (server, { message }) => send({ kind: 'upstream-failure', server, message }),
  onFault: onError,
});
const listeners = new Listeners((message, client, isTcp) => engine.respond(message, client, isTcp));
const compaction = new QuietCompaction(compactHeap);
const changes = new Turns<DnsChange>(list => {
  engine.apply(list);
  compaction.noteSync();
}, CHANGES_PER_TURN);

const signs = new SignsOfLife();
const onFailing = (error: unknown) => send({ kind: 'no-signs', message: messageOf(error) });
const { pulses, index } = workerData as WorkerData;
const heart = new Heart({ signs, pulses: new Int32Array(pulses), index, onFailing });

const calls: WorkerCalls = {
  signs: (family, addresses) => signs.follow(family, addresses),
  beat: isBeating => heart.beat(isBeating),
  listen: addresses => listeners.set(addresses),
  readings: () => ({ ...engine.readings(), sockets: { ...listeners.counts } }),
  explain: (name, type) => engine.explain(name, type),
  settled: () => changes.settled(),
};

port.on('message', (message: ToWorker) => {
  switch (message.kind) {
    case 'configure':
      engine.configure(message.settings);
      break;
    case 'changes':
      changes.add(message.changes);
      break;
    case 'synced':
      void changes.settled().then(() => {
        engine.setSynced();
        compaction.noteFull();
      });
      break;
    case 'call':
      void answer(message);
  }
});

async function answer({ id, method, args }: Call): Promise<void> {
  try {
    const call = calls[method] as (...all: readonly unknown[]) => unknown;
    send({ kind: 'result', id, value: await call(...args) });
  } catch (error) {
    send({ kind: 'error', id, message: messageOf(error) });
  }
}
