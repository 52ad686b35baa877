import { describe, expect, it } from 'vitest';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import { weightsOf } from '../../../src/endpoints/weights.ts';
import type { EndpointWeight, IPFamily } from '../../../src/watch/objects.ts';
import { endpoint, service, servicePort, snapshot } from '../../fakes/objects.ts';

function weights(text: Record<string, number>, ips: readonly string[]): readonly number[] {
  const endpointWeights: EndpointWeight[] = Object.entries(text).map(([cidr, weight]) => ({ cidr, weight }));
  return weightsOf(
    ips.map(ip => endpoint(ip)),
    servicePort({ endpointWeights }),
  );
}

describe('the weights of endpoints', () => {
  it('are 1 where nothing is said of them', () => {
    expect(weights({}, ['10.1.0.1', '10.1.0.2'])).toEqual([1, 1]);
    expect(weights({ '10.1.0.1/32': 4 }, ['10.1.0.1', '10.1.0.2'])).toEqual([4, 1]);
  });

  it('are scaled down where they would be thousands of elements, and nobody is left out', () => {
    const ips = Array.from({ length: 1000 }, (_, i) => `10.1.${i >> 8}.${i & 255}`);
    const scaled = weights({ '10.1.0.0/16': 99, '10.1.0.0/32': 1, '10.1.0.1/32': 0 }, ips);
    expect(scaled.slice(0, 3)).toEqual([1, 0, 4]);
    expect(scaled.reduce((sum, weight) => sum + weight, 0)).toBeLessThanOrEqual(4096 + ips.length / 2);
  });

  it('are those of the narrowest range', () => {
    const text = { '10.0.0.0/8': 2, '10.1.0.7/32': 0, '10.1.0.0/16': 7 };
    expect(weights(text, ['10.1.0.7', '10.1.0.8', '10.2.0.1', '192.0.2.1'])).toEqual([0, 7, 2, 1]);
    expect(weights({ '2001:db8::/64': 5 }, ['2001:db8::1', '2001:db8:1::1'])).toEqual([5, 1]);
  });

  it('are the smallest whole numbers in their proportion', () => {
    const text = { '10.1.0.0/24': 20, '10.2.0.0/24': 30, '10.3.0.0/24': 0 };
    expect(weights(text, ['10.1.0.1', '10.2.0.1', '10.3.0.1'])).toEqual([2, 3, 0]);
    expect(weights(text, ['10.1.0.1', '10.1.0.2'])).toEqual([1, 1]);
  });

  it('are all 1 where all would be 0', () => {
    expect(weights({ '0.0.0.0/0': 0 }, ['10.1.0.1', '10.1.0.2'])).toEqual([1, 1]);
    expect(weights({ '0.0.0.0/0': 0 }, [])).toEqual([]);
  });
});

describe('in the Model', () => {
  const node = { name: 'node-a', zone: '' };
  const portOf = (family: IPFamily, endpointWeights: readonly EndpointWeight[]) => {
    const snap = snapshot([
      service({ clusterIPs: ['10.96.0.10', 'fd00::10'], balancing: 'source-hash', endpointWeights }),
    ]);
    const model = updateModel(emptyModel(family, node), snap, snap.services.keys(), node);
    return model.routes.get('default/web:http/TCP')?.servicePort;
  };

  it('a port has the weights of its family, and how endpoints are chosen', () => {
    const both = [
      { cidr: '10.1.0.0/24', weight: 3 },
      { cidr: '2001:db8::/64', weight: 2 },
    ];
    expect(portOf('IPv4', both)).toMatchObject({ balancing: 'source-hash', endpointWeights: both.slice(0, 1) });
    expect(portOf('IPv6', both)?.endpointWeights).toEqual(both.slice(1));
  });

  it('ports without weights share one empty list', () => {
    expect(portOf('IPv4', [])?.endpointWeights).toBe(
      portOf('IPv6', [{ cidr: '10.1.0.0/24', weight: 3 }])?.endpointWeights,
    );
  });
});
