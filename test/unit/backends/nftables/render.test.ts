import { describe, expect, it } from 'vitest';
import type { Frontend, NftObject } from '../../../../src/backends/nftables/objects.ts';
import { byKey } from '../../../../src/backends/nftables/objects.ts';
import { type Step, stepsOf, transactionsOf } from '../../../../src/backends/nftables/render.ts';
import { FakeNfTables } from '../../../fakes/nf-tables.ts';
import { endpoint } from '../../../fakes/objects.ts';
import { Node, routeTo } from './node.ts';

const HERE = { isLocal: true, mayBeLocal: true };
const PODS = [1, 2, 3].map(i => endpoint(`10.244.0.${i}`, HERE));

/** A step's kind, and the set that it is about. */
function name(step: Step): string {
  if ('element' in step) return `${step.kind} ${step.element.set}`;
  return 'range' in step ? `add ${step.range.set}` : step.kind;
}

function order(steps: readonly Step[]): string[] {
  const names = steps.map(name);
  return names.filter((text, i) => text !== names[i - 1]);
}

const frontend = (ip: string, fields: Partial<Frontend> = {}): Frontend => ({
  ...{ kind: 'frontend', where: { ip, port: 80, protocol: 'TCP' }, service: 'a/b', chain: 'lb-1' },
  ...{ endpoints: ['10.244.0.1:80'], hairpins: ['10.244.0.1'], source: 'rewrite-source' },
  ...fields,
});

describe('the order of steps', () => {
  const chain = (of: string): NftObject => ({ kind: 'chain', name: of, rules: [] });
  const set = (of: string): NftObject => ({ kind: 'set', spec: { name: of, flags: 0, key: [] } });
  const [before, after] = [
    frontend('10.96.0.2', { allowed: ['192.0.2.0/24'] }),
    frontend('10.96.0.2', { chain: 'lb-2', endpoints: ['10.244.0.1:80', '10.244.0.2:80'], allowed: ['192.0.0.0/16'] }),
  ];
  const steps = stepsOf(
    {
      created: byKey([frontend('10.96.0.3'), chain('lb-2'), set('new')]),
      updated: new Map([['frontend/10.96.0.2 TCP 80', { before, after }]]),
      deleted: byKey([frontend('10.96.0.1'), chain('lb-7'), set('old')]),
    },
    'IPv4',
  );

  it('opens no entrance before what is behind it, and closes the old ones behind the new ones', () => {
    expect(order(steps)).toEqual([
      'new-set',
      'new-chain',
      'rules',
      'add endpoints',
      'add hairpins',
      'add external',
      'delete allowed',
      'add endpoints',
      'add allowed',
      'delete services',
      'add services',
      'delete services',
      'delete endpoints',
      'delete external',
      'flush-chain',
      'delete hairpins',
      'delete-chain',
      'delete-set',
    ]);
  });

  it('is one transaction, but for chains before what leads to them, and what packets under way, or older kernels, still count on', () => {
    const [chains, all, late, ...others] = transactionsOf(steps).map(order);
    expect(others).toEqual([]);
    expect(chains).toEqual(['new-set', 'new-chain', 'rules']);
    expect(late).toEqual(['delete hairpins', 'delete-chain', 'delete-set']);
    expect([...chains!, ...all!, ...late!]).toEqual(order(steps));
  });

  it('is one transaction where the table is new', () => {
    const created = byKey([{ kind: 'table', isDormant: false }, frontend('10.96.0.3'), chain('lb-2'), set('new')]);
    const fresh = stepsOf({ created, updated: new Map(), deleted: new Map() }, 'IPv4');
    expect(transactionsOf(fresh)).toEqual([fresh]);
  });
});

describe('between two transactions', () => {
  const hairpinsOf = async ({ backend }: Node) =>
    [...(await backend.read()).values()].flatMap(object => (object.kind === 'frontend' ? [object.hairpins ?? []] : []));

  it('an endpoint that has gone may still answer itself', async () => {
    const node = new Node('IPv4');
    await node.set(routeTo(PODS));
    const seen: (readonly string[])[][] = [];
    node.kernel.afterCommit = async () => {
      seen.push(await hairpinsOf(node));
    };
    expect(await node.set(routeTo(PODS.slice(0, 2)))).toEqual([]);
    const ips = PODS.map(({ ip }) => ip);
    // With the chain for two, with the endpoints, and behind them.
    expect(seen).toEqual([[ips], [ips], [ips.slice(0, 2)]]);
  });

  it('a Service whose address changes has the old one or the new one, however small they are', async () => {
    const node = new Node('IPv4', new FakeNfTables({ batchBytes: 100 }));
    await node.set(routeTo(PODS, { clusterIP: '10.96.0.10' }));
    const open: string[] = [];
    node.kernel.afterCommit = async () => {
      const there = [...(await node.backend.read()).values()];
      open.push(there.flatMap(one => (one.kind === 'frontend' && one.chain ? [one.where.ip] : [])).join(' '));
    };
    expect(await node.set(routeTo(PODS, { clusterIP: '10.96.0.20' }))).toEqual([]);
    expect(open.filter((text, i) => text !== open[i - 1])).toEqual([
      '10.96.0.10',
      expect.stringMatching(/^10\.96\.0\.[12]0 10\.96\.0\.[12]0$/),
      '10.96.0.20',
    ]);
  });
});
