/**
 * growth.ts LEASES PODS RUNS: ADD by the executable with no lease and with LEASES, medians in milliseconds; bytes of heap a pod after so many PODS have their
 * network, after a garbage collection. JSON.
 */
import { Serving } from '../../src/cni/agent/serving.ts';
import type { AgentRequest } from '../../src/cni/types.ts';
import { median } from '../spine/rows.ts';
import { agentData, log, ours, removeDirectory } from './agent.ts';
import { add, del, makePods, podName, timed } from './runtime.ts';

const [leases = 10_000, pods = 5000, runs = 40] = process.argv.slice(2).map(Number);
/** A bridge takes 1 023 ports. */
const [NAMESPACES, LINKS_EACH, PODS_A_BRIDGE] = [100, 50, 500];
/** Requests under way at once. */
const TOGETHER = 50;

const serving = await Serving.start({
  ...agentData,
  log,
  currentSettings: () => agentData.settings,
  tellPorts: () => undefined,
});
try {
  await using _ = await makePods(NAMESPACES);
  const few = await addTimes();
  await each(leases, number => ask('ADD', number, addressesOnly()));
  const many = await addTimes();
  await ask('GC', 0, { ...addressesOnly(), 'cni.dev/valid-attachments': [] });
  const before = heap();
  await each(pods, number => ask('ADD', number, link(number)));
  const grown = (heap() - before) / pods;
  process.stdout.write(JSON.stringify({ few, many, heapPerPod: grown }));
} finally {
  await serving.stop();
  removeDirectory();
}

async function addTimes(): Promise<number> {
  const chain = ours('growth', { ipMasq: true });
  const times: number[] = [];
  for (let round = -2; round < runs; round += 1) {
    const result = await timed(round < 0 ? [] : times, () => add(chain, 0));
    await del(chain, 0, result);
  }
  return median(times);
}

function heap(): number {
  for (let i = 0; i < 3; i += 1) globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

async function each(count: number, work: (number: number) => Promise<void>): Promise<void> {
  for (let from = 0; from < count; from += TOGETHER) {
    const numbers = Array.from({ length: Math.min(TOGETHER, count - from) }, (_, i) => from + i);
    await Promise.all(numbers.map(work));
  }
}

async function ask(command: AgentRequest['command'], number: number, config: Record<string, unknown>): Promise<void> {
  const request: AgentRequest = {
    protocol: 1,
    command,
    containerID: `container-${number}`,
    ifname: `eth${Math.floor(number / NAMESPACES) % LINKS_EACH}`,
    netns: `/run/netns/${podName(number % NAMESPACES)}`,
    args: {},
    config,
  };
  const { error } = await serving.agent.handle(request, new AbortController().signal);
  if (error !== undefined) throw new Error(`${command} ${number}: ${error.msg}`);
}

/** As the IPAM plugin of another. */
function addressesOnly(): Record<string, unknown> {
  return { ...ours('growth', { kproxyDelegated: true })[0]!.config };
}

function link(number: number): Record<string, unknown> {
  const bridge = Math.floor(number / PODS_A_BRIDGE);
  const ipam = { type: 'kproxy-cni', ranges: [[{ subnet: `10.${11 + bridge}.0.0/16` }]] };
  return {
    ...ours(`net${bridge}`, {
      ipMasq: true,
      isDefaultGateway: false,
      isGateway: true,
      bridge: `heap${bridge}`,
      ipam,
    })[0]!.config,
  };
}
