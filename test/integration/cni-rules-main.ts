/**
 * cni-rules-main.ts NAME PORT...: answers at these ports as the lab's pods do; each line on standard input is a command with its arguments, as JSON, whose outcome is printed as
 * a line of JSON. One runs in each namespace; the node's has the rules.
 */
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { enableBridgeNetfilter } from '../../src/cni/rules/bridge-netfilter.ts';
import { CniRules } from '../../src/cni/rules/cni-rules.ts';
import { type GoneFlows, PodFlows } from '../../src/cni/rules/flows.ts';
import { Forwarding } from '../../src/cni/rules/forwarding.ts';
import { NftTables } from '../../src/cni/rules/nft-tables.ts';
import type { PodRules } from '../../src/cni/rules/pod-rules.ts';
import { startEcho } from '../../src/lab/echo.ts';
import { NftSocket } from '../../src/linux/nf-tables.ts';
import { createLogger } from '../../src/log.ts';
import { ask, type Target } from './cni-rules-ask.ts';

const [name = '', ...ports] = process.argv.slice(2);
const log = createLogger({ level: 'error', destination: process.stderr });
const kernel = new NftSocket();
let rules = new CniRules({ tables: new NftTables({ kernel, log }), log });
const forwarding = new Forwarding({ kernel, log });
const flows = new PodFlows();

for (const port of ports) await startEcho({ pod: name, node: '', ip: '' }, Number(port));
process.stdout.write('ready\n');

async function timed(work: () => Promise<void>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

const commands: Readonly<Record<string, (...args: never[]) => Promise<unknown>>> = {
  ask: (target: Target) => ask(target),
  start: async (pods: PodRules[], nonMasqueradeCIDRs: string[] = []) => {
    rules = new CniRules({ tables: new NftTables({ kernel, log }), log });
    await rules.start(pods, { nonMasqueradeCIDRs });
  },
  add: (pods: PodRules[]) => timed(async () => void (await Promise.all(pods.map(pod => rules.add(pod))))),
  addEach: async (pods: PodRules[]) => {
    const outcomes = await Promise.allSettled(pods.map(pod => rules.add(pod)));
    return outcomes.map(outcome => (outcome.status === 'rejected' ? String(outcome.reason) : ''));
  },
  remove: (keys: string[]) => timed(async () => void (await Promise.all(keys.map(key => rules.remove(key))))),
  check: (pod: PodRules) => rules.check(pod),
  isIntact: () => rules.isIntact(),
  repair: () => rules.repair(),
  cleanup: () => rules.cleanup(),
  // As the agent does.
  localnet: async (bridges: string[]) => {
    for (const bridge of bridges) {
      writeFileSync(
        `/proc/sys/net/ipv4/conf/${bridge}/route_localnet`,
        rules.localnetBridges().has(bridge) ? '1' : '0',
      );
    }
    return [...rules.localnetBridges()];
  },
  flush: (gone: GoneFlows) => flows.flush(gone),
  accept: (bridges: string[]) => forwarding.acceptForwarding(bridges),
  removeForwarding: () => forwarding.removeForwarding(),
  bridgeNetfilter: () => enableBridgeNetfilter({ families: ['IPv4', 'IPv6'] }),
};

for await (const line of createInterface(process.stdin)) {
  const [command, ...args] = JSON.parse(line) as [string, ...never[]];
  const outcome = await commands[command]!(...args).then(
    value => ({ value: value ?? null }),
    (error: Error) => ({ error: error.message }),
  );
  process.stdout.write(`${JSON.stringify(outcome)}\n`);
}
