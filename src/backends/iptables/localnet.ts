import type { Configuration } from '../../config/configuration.ts';
import type { Logger } from '../../log.ts';
import { diff } from '../diff.ts';
import { applyChanges } from './apply.ts';
import { byKey } from './objects.ts';
import { readPlan } from './read.ts';
import { localnetGuard } from './shared-rules.ts';
import { detectVariant, toolsOf } from './tools.ts';

/**
 * Puts the rules of `localnetGuard` into the kernel, before a daemon does, and nothing else. Whether they are there: what keeps them out is in the log.
 */
export async function placeLocalnetGuard({ iptables }: Configuration, log: Logger): Promise<boolean> {
  try {
    const variant = iptables.variant === 'auto' ? (await detectVariant()).variant : iptables.variant;
    const io = { tools: toolsOf(variant, 'IPv4'), log };
    const current = await readPlan(io);
    const wanted = byKey(localnetGuard());
    const ours = new Map([...current].filter(([key]) => wanted.has(key)));
    const { failures } = await applyChanges(diff(ours, wanted), ours, { io });
    if (failures.length > 0) throw new AggregateError(failures.map(({ error }) => error));
    return true;
  } catch (err) {
    const why = 'the network cannot be kept away from 127.0.0.0/8, so route_localnet is not set';
    log.warn({ component: 'lifecycle', err }, `${why}: NodePorts on 127.0.0.1 do not work until a daemon may set it`);
    return false;
  }
}
