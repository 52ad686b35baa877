/** The modes that a node can be programmed in. A further one is an entry here and in SERVED_MODES. */
import type { Mode } from './backends/mode.ts';
import type { Configuration } from './config/configuration.ts';
import { isServed, SERVED_MODES, type ServedMode } from './config/proxy-modes.ts';
import type { Logger } from './log.ts';

/** Loaded when they are used: each brings what its kernel interface takes. */
const MODES: Readonly<Record<ServedMode, () => Promise<Mode>>> = {
  nftables: async () => (await import('./backends/nftables/mode.ts')).NFTABLES,
  iptables: async () => (await import('./backends/iptables/mode.ts')).IPTABLES,
};

/** All of them, in the order of SERVED_MODES. */
export function loadModes(): Promise<Mode[]> {
  return Promise.all(SERVED_MODES.map(name => MODES[name]()));
}

/** The mode to run in: the one that the configuration names, or what this node can do. */
export async function chooseMode({ mode }: Pick<Configuration, 'mode'>, log: Logger): Promise<Mode> {
  if (mode === '') return firstUsable(SERVED_MODES, log);
  if (!isServed(mode)) throw new TypeError(`the mode ${mode} is not served`);
  return MODES[mode]();
}

/** The first that has no obstacle, or the last, which will say itself what it lacks. */
async function firstUsable([name, ...others]: readonly ServedMode[], log: Logger): Promise<Mode> {
  if (name === undefined) throw new TypeError('no mode is served');
  const mode = await MODES[name]();
  if (others.length === 0) return mode;
  const obstacle = await mode.obstacle();
  if (obstacle === undefined) return mode;
  log.info({ component: 'config', mode: name }, `mode ${name} cannot be used on this node: ${obstacle}`);
  return firstUsable(others, log);
}
