import { describe, expect, it } from 'vitest';
import { trimEndpoints } from '../../../src/watch/trim-endpoints.ts';
import { sliceEndpoint } from '../../fakes/objects.ts';

const endpoints = (subsets: unknown, labels: object = {}) =>
  trimEndpoints({ metadata: { namespace: 'default', name: 'web', labels }, subsets });
const notReady = { ready: false, serving: false };

describe('Endpoints', () => {
  it('become a slice for each subset and family; not ready ones serve nothing', () => {
    const trimmed = endpoints([
      {
        addresses: [{ ip: '10.0.0.1', nodeName: 'n1', hostname: 'h' }, { ip: 'fd00:0::1' }],
        notReadyAddresses: [{ ip: '10.0.0.2' }],
        ports: [
          { name: 'http', port: 8080 },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
      },
      { notReadyAddresses: [{ ip: '10.0.0.3' }], ports: [{ port: 81 }] },
    ]);
    const ports = [
      { name: 'http', protocol: 'TCP', port: 8080 },
      { name: 'dns', protocol: 'UDP', port: 53 },
    ];
    const common = { namespace: 'default', serviceName: 'web', isHeadless: false, changeTriggerMs: 0 };
    expect(trimmed).toEqual({
      key: 'default/web',
      problems: [],
      object: [
        {
          ...common,
          name: 'web#0-IPv4',
          family: 'IPv4',
          ports,
          endpoints: [
            sliceEndpoint('10.0.0.1', { nodeName: 'n1', hostname: 'h' }),
            sliceEndpoint('10.0.0.2', notReady),
          ],
        },
        { ...common, name: 'web#0-IPv6', family: 'IPv6', ports, endpoints: [sliceEndpoint('fd00::1')] },
        {
          ...common,
          name: 'web#1-IPv4',
          family: 'IPv4',
          ports: [{ name: '', protocol: 'TCP', port: 81 }],
          endpoints: [sliceEndpoint('10.0.0.3', notReady)],
        },
      ],
    });
  });

  it('without addresses are no slice', () => {
    for (const subsets of [undefined, null, [], [{ ports: [{ port: 80 }] }]]) {
      expect(endpoints(subsets)).toEqual({ key: 'default/web', object: [], problems: [] });
    }
  });

  it('with the label of headless Services are marked', () => {
    const subsets = [{ addresses: [{ ip: '10.0.0.1' }], ports: [{ port: 80 }] }];
    expect(endpoints(subsets, { 'service.kubernetes.io/headless': '' }).object?.[0]).toMatchObject({
      isHeadless: true,
      changeTriggerMs: 0,
    });
  });

  it('that are impossible in part are used for the rest', () => {
    const { object, problems } = endpoints([
      { addresses: [{ ip: 'x' }, { ip: '10.0.0.1' }], ports: [{ port: 70000 }, { port: 80 }] },
      5,
    ]);
    expect(object).toMatchObject([{ endpoints: [{ addresses: ['10.0.0.1'] }], ports: [{ port: 80 }] }]);
    expect(problems.map(problem => `${problem.object} ${problem.field}`)).toEqual([
      'Endpoints default/web subsets[0].addresses[0].ip',
      'Endpoints default/web subsets[0].ports[0].port',
      'Endpoints default/web subsets[1]',
    ]);
    expect(trimEndpoints(null)).toMatchObject({ key: undefined, problems: [{ object: 'Endpoints' }] });
  });
});
