/** A thread of its own that asks from many ports, each question from the next of them, and counts what comes back. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { parentPort, Worker, workerData } from 'node:worker_threads';

export interface FloodOptions {
  readonly port: number;
  readonly sockets: number;
  /** In a burst of one turn, and how long until the next one. */
  readonly burst: number;
  readonly pauseMs: number;
}

export interface FloodResult {
  readonly asked: number;
  readonly answered: number;
}

/** Questions are numbers of four bytes, and so are their answers. */
export interface Flood {
  /** Resolves once answers have had time to come. */
  stop(): Promise<FloodResult>;
}

const LAST_ANSWERS_MS = 300;

export async function startFlood(options: FloodOptions): Promise<Flood> {
  const worker = new Worker(new URL(import.meta.url), { workerData: { flood: options } });
  await once(worker, 'message');
  return {
    async stop() {
      const result = once(worker, 'message') as Promise<[FloodResult]>;
      worker.postMessage('stop');
      const [found] = await result;
      await worker.terminate();
      return found;
    },
  };
}

async function flood({ port, sockets, burst, pauseMs }: FloodOptions): Promise<void> {
  const open = new Set<number>();
  const clients: Socket[] = [];
  for (let i = 0; i < sockets; i += 1) {
    const socket = createSocket('udp4');
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.on('message', answer => open.delete(answer.readUInt32BE(0)));
    clients.push(socket);
  }
  let asked = 0;
  let isStopped = false;
  parentPort?.on('message', () => {
    isStopped = true;
  });
  parentPort?.postMessage('ready');
  while (!isStopped) {
    for (let i = 0; i < burst; i += 1) {
      const question = Buffer.alloc(4);
      question.writeUInt32BE(asked);
      open.add(asked);
      clients[asked % clients.length]?.send(question);
      asked += 1;
    }
    await delay(pauseMs);
  }
  await delay(LAST_ANSWERS_MS);
  parentPort?.postMessage({ asked, answered: asked - open.size } satisfies FloodResult);
}

const given = workerData as { readonly flood?: FloodOptions } | null;
if (parentPort !== null && given?.flood !== undefined) await flood(given.flood);
