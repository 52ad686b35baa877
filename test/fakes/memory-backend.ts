import type { Plan } from '../../src/backends/backend.ts';
import { patch } from '../../src/backends/diff.ts';
import type { FamilyBackend } from '../../src/backends/family-backend.ts';
import { nodeOptions, optionChanges } from '../../src/backends/node-options.ts';
import { servicePortText } from '../../src/endpoints/types.ts';

/** A kernel that holds texts. */
export interface MemoryKernel {
  plan: Plan<string>;
  /** What was done to it, in order. */
  readonly calls: string[];
}

/** A mode as small as one can be, with nothing of iptables: one text a Service port, and one that says what all were planned with. */
export function createMemoryBackend(kernel: MemoryKernel): FamilyBackend<string> {
  let options: ReturnType<typeof nodeOptions> | undefined;
  const { calls } = kernel;
  return {
    mode: 'nftables',
    planRoute: ({ servicePort: { name, clusterIP, port } }) =>
      new Map([[`service ${servicePortText(name)}`, `${clusterIP}:${port}`]]),
    planShared: () =>
      new Map([['options', `all=${options?.masqueradeAll} ports=${String(options?.nodePortAddresses)}`]]),
    read: async () => {
      calls.push('read');
      return new Map(kernel.plan);
    },
    apply: async (changes, current) => {
      calls.push('apply');
      kernel.plan = new Map(patch(current, changes));
      return { plan: current, failures: [] };
    },
    tidy: async () => void calls.push('tidy'),
    close: async () => void calls.push('close'),
    options: {
      of: (configuration, { node, kernel: facts }) =>
        nodeOptions({ ...configuration, mode: 'nftables' }, node, 'IPv4', facts),
      changes: optionChanges,
    },
    syncs: {
      begin: next => {
        options = next;
      },
    },
    udpClaims: plan => [...plan.keys()].map(key => `claim of ${key}`),
    dump: {
      textsOf: text => [{ table: 'memory', chain: 'texts', lines: [text] }],
      rankOf: () => 0,
      groupByOwner: objects => ({ owned: new Map(), rest: [...objects] }),
      describe: () => ({ addresses: [], internalTrafficPolicy: null, externalTrafficPolicy: null, endpoints: [] }),
      lost: () => [],
    },
  };
}
