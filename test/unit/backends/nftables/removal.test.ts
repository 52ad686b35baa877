import { expect, it } from 'vitest';
import { diff } from '../../../../src/backends/diff.ts';
import { applyChanges } from '../../../../src/backends/nftables/apply.ts';
import { CHAINS, TABLE } from '../../../../src/backends/nftables/names.ts';
import { nftablesOptions } from '../../../../src/backends/nftables/options.ts';
import { readPlan } from '../../../../src/backends/nftables/read.ts';
import { removeTable, retireTable } from '../../../../src/backends/nftables/removal.ts';
import { planShared } from '../../../../src/backends/nftables/shared-rules.ts';
import { defaultConfiguration } from '../../../../src/config/load.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';

async function programmed(): Promise<FakeNfTables> {
  const kernel = new FakeNfTables();
  const { configuration } = defaultConfiguration();
  const options = nftablesOptions(configuration, {
    node: undefined,
    family: 'IPv4',
    serviceCIDRs: [],
    kernel: undefined,
  });
  const changes = diff(new Map(), new Map(planShared(options)));
  await applyChanges(changes, new Map(), { kernel, family: 'IPv4' });
  return kernel;
}

it('a table goes as a whole; one that is not there is no error', async () => {
  const kernel = await programmed();
  const table = { kernel, family: 'IPv4', table: TABLE } as const;
  expect(await removeTable({ ...table, table: 'kube-proxy' })).toBe(false);
  expect(await removeTable({ ...table, family: 'IPv6' })).toBe(false);
  expect(await removeTable(table)).toBe(true);
  expect(await removeTable(table)).toBe(false);
});

it('before another mode takes over, sources are rewritten for longer than endpoints are chosen', async () => {
  const kernel = await programmed();
  const rulesOf = async () => {
    const plan = await readPlan(kernel, 'IPv4');
    return [CHAINS.natPrerouting, CHAINS.natOutput, CHAINS.natPostrouting].map(name => {
      const chain = [...plan.values()].find(object => object.kind === 'chain' && object.name === name);
      return chain?.kind === 'chain' ? chain.rules.length > 0 : undefined;
    });
  };
  expect(await rulesOf()).toEqual([true, true, true]);
  const before = kernel.commits;
  const retired = retireTable({ kernel, family: 'IPv4' });
  await new Promise(setImmediate);
  expect(kernel.commits).toBe(before + 1);
  expect(await rulesOf()).toEqual([false, false, true]);
  expect(await retired).toBe(true);
  expect(kernel.commits).toBe(before + 2);
  expect(await rulesOf()).toEqual([undefined, undefined, undefined]);
  expect(await retireTable({ kernel, family: 'IPv4' })).toBe(false);
});
