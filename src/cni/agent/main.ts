/** The agent's thread: it enters the pods' namespaces, and waits for the disk. */
import { parentPort, workerData } from 'node:worker_threads';
import type { AgentCalls, AgentData, FromAgent, HeldPorts, Level, ToAgent } from './messages.ts';
import type { AgentSettings } from './parts.ts';
import { Serving } from './serving.ts';

if (parentPort === null) throw new TypeError('not a worker thread');
const port = parentPort;
const send = (message: FromAgent) => port.postMessage(message);
const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** As pino takes them: plain data, an error as its text. */
const logAt =
  (level: Level) =>
  (fields: object, message = ''): void => {
    const plain = Object.entries(fields).map(([name, value]) => [
      name,
      value instanceof Error ? messageOf(value) : value,
    ]);
    send({ kind: 'log', level, fields: JSON.parse(JSON.stringify(Object.fromEntries(plain))), message });
  };
const log = { info: logAt('info'), warn: logAt('warn'), error: logAt('error') } as const;

// What is left of a request that failed in its own way is no reason to leave the others.
process.on('uncaughtException', error =>
  log.error({ err: error.stack ?? error.message }, 'a fault, please report this'),
);

const data = workerData as AgentData;
let settings: AgentSettings = data.settings;
const tellPorts = (ports: HeldPorts) => send({ kind: 'ports', ports });
const starting = Serving.start({ ...data, log, currentSettings: () => settings, tellPorts });
starting.then(
  () => send({ kind: 'started' }),
  (error: unknown) => send({ kind: 'failed', message: messageOf(error) }),
);

const calls: { readonly [K in keyof AgentCalls]: (...args: never[]) => unknown } = {
  list: async () => (await starting).agent.list(),
  free: async (request: Parameters<AgentCalls['free']>[0]) => (await starting).agent.free(request),
  readings: async () => (await starting).readings(),
  stop: async () => {
    await (await starting).stop();
    // The thread ends when its sockets have: netlink's binding can't be ended from outside while it has one.
    port.unref();
  },
};

port.on('message', (message: ToAgent) => {
  if (message.kind === 'settings') {
    settings = message.settings;
    void starting.then(
      serving => serving.follow(),
      () => undefined, // told already
    );
    return;
  }
  void answer(message);
});

async function answer({ id, method, args }: Extract<ToAgent, { kind: 'call' }>): Promise<void> {
  try {
    const call = calls[method] as (...all: readonly unknown[]) => unknown;
    send({ kind: 'result', id, value: await call(...args) });
  } catch (error) {
    send({ kind: 'error', id, message: messageOf(error) });
  }
}
