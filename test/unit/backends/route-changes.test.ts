import { describe, expect, it } from 'vitest';
import type { Backend } from '../../../src/backends/backend.ts';
import { diff } from '../../../src/backends/diff.ts';
import { changesSince, planAll, unexplained } from '../../../src/backends/route-changes.ts';
import { emptyModel, updateModel } from '../../../src/endpoints/model.ts';
import type { Model, ServiceRoute } from '../../../src/endpoints/types.ts';
import type { EndpointSlice, Service } from '../../../src/watch/objects.ts';
import { service, slice, sliceEndpoint, snapshot } from '../../fakes/objects.ts';

const NODE = { name: 'node-a', zone: '' };

/**
 * What a map-only backend has: an element for the address of each port, one for each address of a Service however many ports it has, and the chain of
 * an endpoint count, which belongs to nobody.
 */
function createFake() {
  const planned: string[] = [];
  const backend: Pick<Backend<string>, 'planRoute' | 'planShared' | 'isShared'> = {
    planRoute: ({ servicePort: { name, clusterIP, port }, clusterEndpoints }: ServiceRoute) => {
      planned.push(`${name.name}:${name.port}`);
      const count = clusterEndpoints.length;
      return new Map([
        [`chain lb-${count}`, 'chain'],
        [`address ${clusterIP}`, name.name],
        [`service ${clusterIP} ${port}`, `lb-${count}`],
      ]);
    },
    planShared: () => new Map(),
    isShared: key => key.startsWith('chain '),
  };
  return { backend, planned };
}

const ports = (...names: string[]) =>
  names.map((name, i) => ({ name, protocol: 'TCP' as const, port: 80 + i, nodePort: 0 }));

const withEndpoints = (count: number, name = 'web') =>
  slice({
    name: `${name}-1`,
    serviceName: name,
    ports: [{ name: 'http', protocol: 'TCP', port: 8080 }],
    endpoints: Array.from({ length: count }, (_, i) => sliceEndpoint(`10.244.1.${i + 1}`)),
  });

function modelOf(services: Service[], slices: EndpointSlice[], previous: Model = emptyModel('IPv4', NODE)): Model {
  const snap = snapshot(services, slices);
  return updateModel(previous, snap, [...previous.servicePorts.keys(), ...snap.services.keys()], NODE);
}

const keysOf = ({ created, updated, deleted }: ReturnType<typeof changesSince>) => ({
  created: [...created.keys()],
  updated: [...updated.keys()],
  deleted: [...deleted.keys()],
});

describe('changesSince', () => {
  const other = service({ name: 'other', clusterIPs: ['10.96.0.20'] });

  function change(before: [Service[], EndpointSlice[]], after: [Service[], EndpointSlice[]]) {
    const { backend, planned } = createFake();
    const previous = modelOf(...before);
    const current = new Map(planAll(backend, previous));
    planned.length = 0;
    const model = modelOf(...after, previous);
    return { changes: keysOf(changesSince(backend, { previous, current, model })), planned };
  }

  it('creates an object that any Service may plan, and never deletes it', () => {
    const two: [Service[], EndpointSlice[]] = [
      [service(), other],
      [withEndpoints(2), withEndpoints(2, 'other')],
    ];
    const one: [Service[], EndpointSlice[]] = [
      [service(), other],
      [withEndpoints(1), withEndpoints(2, 'other')],
    ];
    expect(change(two, one).changes).toEqual({
      created: ['chain lb-1'],
      updated: ['service 10.96.0.10 80'],
      deleted: [],
    });
    expect(change(one, two).changes).toEqual({ created: [], updated: ['service 10.96.0.10 80'], deleted: [] });
  });

  it('keeps what another port of the Service plans too', () => {
    const both = service({ ports: ports('http', 'admin') });
    const rest = service({ ports: ports('http') });
    expect(change([[both], []], [[rest], []]).changes).toEqual({
      created: [],
      updated: [],
      deleted: ['service 10.96.0.10 81'],
    });
  });

  it('deletes that with the last port that planned it', () => {
    const both = service({ ports: ports('http', 'admin') });
    expect(change([[both], []], [[], []]).changes.deleted).toEqual([
      'address 10.96.0.10',
      'service 10.96.0.10 80',
      'service 10.96.0.10 81',
    ]);
  });

  it('plans all ports of the Service that changed, and no other Service', () => {
    const both = service({ ports: ports('http', 'admin') });
    const { planned } = change([[both, other], []], [[both, other], [withEndpoints(1)]]);
    expect(planned.toSorted()).toEqual(['web:admin', 'web:admin', 'web:http', 'web:http']);
  });
});

describe('unexplained', () => {
  it('are changes of routes that stayed as they were, but not what was left of an object that any Service may plan', () => {
    const { backend } = createFake();
    const both = service({ ports: ports('http', 'admin') });
    const previous = modelOf([both], [withEndpoints(2)]);
    const kernel = new Map(planAll(backend, previous));
    kernel.set('chain lb-7', 'chain');
    kernel.set('service 10.96.0.10 81', 'other');
    kernel.set('service 10.96.0.99 80', 'other');
    const model = modelOf([both], [withEndpoints(1)], previous);
    const changes = diff(kernel, planAll(backend, model));
    expect([...changes.deleted.keys()]).toContain('chain lb-7');
    expect([...changes.updated.keys()]).toContain('service 10.96.0.10 80');
    expect(unexplained(backend, { previous, model, changes })).toEqual([
      'service 10.96.0.10 81',
      'service 10.96.0.99 80',
    ]);
  });

  it('has a missing object that any Service may plan', () => {
    const { backend } = createFake();
    const previous = modelOf([service()], [withEndpoints(2)]);
    const model = modelOf([service()], [withEndpoints(2)], previous);
    const kernel = new Map(planAll(backend, previous));
    kernel.delete('chain lb-2');
    const changes = diff(kernel, planAll(backend, model));
    expect(unexplained(backend, { previous, model, changes })).toEqual(['chain lb-2']);
  });
});
