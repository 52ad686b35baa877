import { describe, expect, it } from 'vitest';
import { trimService } from '../../../src/watch/trim.ts';

const trimmed = (annotations: Record<string, unknown>) => {
  const { object, problems } = trimService({
    metadata: { namespace: 'default', name: 'web', annotations },
    spec: { clusterIP: '10.96.0.10', ports: [{ port: 80 }] },
  });
  return { ranges: object?.nodePortSourceRanges, scope: object?.affinityScope, problems };
};
const RANGES = 'kproxy-ts.dev/node-port-source-ranges';
const SCOPE = 'kproxy-ts.dev/session-affinity-scope';

describe('our annotations of a Service', () => {
  it('are read with white space and host bits as people write them', () => {
    const annotations = { [RANGES]: ' 203.0.113.7/24, 2001:DB8::/32 ', [SCOPE]: 'Service', 'example.com/a': 'b' };
    expect(trimmed(annotations)).toEqual({
      ranges: ['203.0.113.0/24', '2001:db8::/32'],
      scope: 'Service',
      problems: [],
    });
    expect(trimmed({})).toEqual({ ranges: [], scope: 'Port', problems: [] });
  });

  it('let nobody in rather than everybody when no range can be read, and say so', () => {
    const { ranges, problems } = trimmed({ [RANGES]: '203.0.113.0' });
    expect(ranges).toEqual(['0.0.0.0/32', '::/128']);
    expect(problems).toEqual([
      expect.objectContaining({ field: `metadata.annotations.${RANGES}[0]`, message: '"203.0.113.0" is not a CIDR' }),
      expect.objectContaining({
        field: `metadata.annotations.${RANGES}`,
        message: 'no entry can be read: the NodePorts let nobody in',
      }),
    ]);
    // What can't be read may have been the only range of a family: that family is closed too.
    expect(trimmed({ [RANGES]: '203.0.113.0/24,x' }).ranges).toEqual(['203.0.113.0/24', '::/128']);
    const typo = trimmed({ [RANGES]: '203.0.113.0/33, 2001:db8::/32' });
    expect(typo.ranges).toEqual(['2001:db8::/32', '0.0.0.0/32']);
    expect(typo.problems.map(({ message }) => message)).toContain(
      'no IPv4 entry can be read: the NodePorts let nobody in over IPv4',
    );
    expect(trimmed({ [RANGES]: '203.0.113.0/24,2001:db8::/32,x' }).ranges).toEqual(['203.0.113.0/24', '2001:db8::/32']);
  });

  it('that are misspelt are named, in key or value', () => {
    const { scope, problems } = trimmed({ [SCOPE]: 'service', 'kproxy-ts.dev/node-ports': 'all' });
    expect(scope).toBe('Port');
    expect(problems.map(({ field }) => field).toSorted()).toEqual([
      'metadata.annotations.kproxy-ts.dev/node-ports',
      `metadata.annotations.${SCOPE}`,
    ]);
  });
});

describe('how a Service says that endpoints are chosen', () => {
  const balancingOf = (annotations: Record<string, unknown>) => {
    const { object, problems } = trimService({
      metadata: { namespace: 'default', name: 'web', annotations },
      spec: { clusterIP: '10.96.0.10', ports: [{ port: 80 }] },
    });
    return { balancing: object?.balancing, weights: object?.endpointWeights, problems };
  };
  const BALANCING = 'kproxy-ts.dev/load-balancing';
  const WEIGHTS = 'kproxy-ts.dev/endpoint-weights';

  it('is random without a word, and with one that is none', () => {
    expect(balancingOf({}).balancing).toBe('random');
    expect(balancingOf({ [BALANCING]: 'source-hash' })).toEqual({
      balancing: 'source-hash',
      weights: [],
      problems: [],
    });
    const { balancing, problems } = balancingOf({ [BALANCING]: 'round-robin' });
    expect(balancing).toBe('random');
    expect(problems).toEqual([
      expect.objectContaining({
        object: 'Service default/web',
        field: `metadata.annotations.${BALANCING}`,
        message: '"round-robin" is none of random, source-hash; random is assumed',
      }),
    ]);
  });

  it('has weights of addresses and CIDRs, canonical', () => {
    expect(balancingOf({ [WEIGHTS]: '10.1.0.9/24=3, 10.2.0.7 = 0 ,2001:DB8::/64=100, fd00::0:1=2' })).toEqual({
      balancing: 'random',
      weights: [
        { cidr: '10.1.0.0/24', weight: 3 },
        { cidr: '10.2.0.7/32', weight: 0 },
        { cidr: '2001:db8::/64', weight: 100 },
        { cidr: 'fd00::1/128', weight: 2 },
      ],
      problems: [],
    });
  });

  it.each([
    '10.1.0.0/33=1',
    '10.1.0.0/24',
    '10.1.0.0/24=-1',
    '10.1.0.0/24=1.5',
    '10.1.0.0/24=101',
    'node-a=2',
    '=1',
    '',
  ])('leaves out the entry %j, by name', entry => {
    const { weights, problems } = balancingOf({ [WEIGHTS]: `${entry},10.3.0.0/24=2` });
    expect(weights).toEqual([{ cidr: '10.3.0.0/24', weight: 2 }]);
    expect(problems).toEqual([expect.objectContaining({ field: `metadata.annotations.${WEIGHTS}[0]` })]);
  });

  it('keeps the first of two weights of one range, and shares the empty list', () => {
    const { weights, problems } = balancingOf({ [WEIGHTS]: '10.1.0.0/24=3,10.1.0.1/24=4' });
    expect(weights).toEqual([{ cidr: '10.1.0.0/24', weight: 3 }]);
    expect(problems.map(({ message }) => message)).toEqual(['"10.1.0.1/24=4" has a weight already']);
    expect(balancingOf({ [WEIGHTS]: ' ' }).weights).toBe(balancingOf({}).weights);
  });
});
