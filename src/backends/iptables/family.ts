import type { run as runProgram } from '../../linux/exec.ts';
import { Shell } from '../../linux/shell.ts';
import type { Logger } from '../../log.ts';
import type { IPFamily } from '../../watch/objects.ts';
import type { FamilyBackend } from '../family-backend.ts';
import type { IptablesIO } from './apply.ts';
import { createIptablesBackend, type IptablesBackend } from './backend.ts';
import { IPTABLES_DUMP } from './dump-format.ts';
import type { NftGeneration } from './generation.ts';
import { MarkTransition } from './mark-transition.ts';
import type { IptablesObject } from './objects.ts';
import { iptablesOptionChanges, iptablesOptions } from './options.ts';
import { readPacketCounts } from './packet-counts.ts';
import { RuleCounter } from './rule-counts.ts';
import type { IptablesOptions } from './rules.ts';
import { readServiceCounts } from './service-counts.ts';
import { describeFailure, toolsOf, type Variant } from './tools.ts';
import { udpClaims } from './udp-claims.ts';

export interface IptablesFamilyOptions {
  readonly family: IPFamily;
  readonly variant: Variant;
  readonly log: Logger;
  /** Starts programs; see IptablesIO. */
  readonly run?: typeof runProgram;
  /** The process's count of commits to nf_tables; see IptablesIO. */
  readonly generation?: NftGeneration;
}

export type IptablesFamily = FamilyBackend<IptablesObject, IptablesOptions> & Pick<IptablesBackend, 'readByParts'>;

/** The iptables mode in one family. */
export function createIptablesFamily(given: IptablesFamilyOptions): IptablesFamily {
  const { family } = given;
  const shell = new Shell();
  const io = ioOf(given, shell);
  const rules = new RuleCounter();
  const mark = new MarkTransition();
  let planned: IptablesOptions | undefined;
  const backend = createIptablesBackend(() => {
    if (planned === undefined) throw new Error('nothing is planned before a sync begins');
    return planned;
  }, io);
  return {
    ...rules.observe(backend),
    mode: 'iptables',
    options: {
      of: (configuration, { node, kernel }) => iptablesOptions(configuration, node, family, kernel),
      changes: iptablesOptionChanges,
    },
    syncs: {
      found: plan => mark.found(plan),
      begin: options => {
        rules.begin();
        planned = mark.bridging(options);
      },
      finish: (report, model) => planned !== undefined && mark.synced(report, planned, backend.planShared(model)),
    },
    counts: {
      rules: applied => ({ total: rules.total(applied), last: rules.written }),
      packets: model => readPacketCounts(backend.planShared(model).values(), io),
      services: () => readServiceCounts(io),
    },
    dump: IPTABLES_DUMP,
    udpClaims: plan => udpClaims(plan.values()),
    describeError: describeFailure,
    close: async options => {
      shell[Symbol.dispose]();
      await backend.close(options);
    },
  };
}

function ioOf({ family, variant, run, generation, log }: IptablesFamilyOptions, shell: Shell): IptablesIO {
  return {
    tools: toolsOf(variant, family),
    log: log.child({ component: 'backend', family }),
    // Who starts programs in a way of his own starts all of them.
    ...(run === undefined ? { shell } : { run }),
    ...(generation === undefined ? {} : { generation }),
  };
}
