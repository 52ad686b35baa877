/** The process that runs the product in the node's namespace. */
import type { Store } from '../../../../src/watch/store.ts';
import { backendNamed } from '../backends.ts';
import { newStore, takeStep } from '../cluster.ts';
import { configurationFor } from '../node-config.ts';
import type { Program, StartParams, StepParams } from './program.ts';
import { serveCalls } from './rpc.ts';

interface Running {
  readonly program: Program;
  readonly store: Store;
}

let running: Running | undefined;

async function start({ backend, node, objects }: StartParams): Promise<void> {
  await stop();
  const configuration = configurationFor(node, backend);
  const store = newStore(node);
  takeStep(store, { apply: objects });
  const { nodeName = node.nodeName } = configuration;
  const options = { families: node.ipFamilies, configuration, nodeName, store };
  const program = await backendNamed(backend).startProgram(options);
  running = { program, store };
  await program.settled();
}

async function step(params: StepParams): Promise<void> {
  const { program, store } = current();
  takeStep(store, params);
  await Promise.resolve(); // the store tells of a batch in a microtask after it
  await program.settled();
}

async function stop(): Promise<void> {
  const before = running;
  running = undefined;
  await before?.program.close();
}

function current(): Running {
  if (running === undefined) throw new TypeError('nothing was started');
  return running;
}

serveCalls({
  start,
  step,
  stop,
  contents: () => current().program.contents(),
  forgetClients: () => current().program.forgetClients(),
});
