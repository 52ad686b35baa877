import type { Configuration } from '../../config/configuration.ts';
import type { MissingPart } from '../../http/health-state.ts';
import type { Node } from '../../watch/objects.ts';
import type { ListenReport } from './listen-report.ts';
import { lacksNodeAddresses, noAddress } from './settings.ts';

export interface NamesState {
  readonly dns: Configuration['dns'];
  readonly node: Node | undefined;
  readonly report: ListenReport;
  /** They answer from a complete list. */
  readonly isComplete: boolean;
  /** Of workers whose place nobody has taken yet. */
  readonly death: Error | undefined;
}

/** Why names aren't all answered, where they are to be; empty when they are. */
export function missingParts({ dns, node, report, isComplete, death }: NamesState): readonly MissingPart[] {
  const parts = report.failures.map(({ address, port, message }) => `${address} port ${port}: ${message}`);
  if (!report.isKnown) parts.push('nothing is listened at yet');
  if (!isComplete) parts.push('no complete list yet');
  if (death !== undefined) parts.push(death.message);
  if (lacksNodeAddresses(dns, node)) parts.push('the Node has no InternalIP to answer at yet');
  else if (report.hasNoAddress) parts.push(noAddress(dns));
  return parts.map(reason => ({ part: 'dns', reason }));
}
