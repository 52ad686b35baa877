import { describe, expect, it } from 'vitest';
import { trimNamespace, trimPod } from '../../../src/watch/trim-cluster.ts';

describe('a Namespace', () => {
  it('is its name, and while it is being deleted too', () => {
    const metadata = { name: 'default', labels: { a: 'b' }, deletionTimestamp: '2026-01-01T00:00:00Z' };
    const { key, object, problems } = trimNamespace({ metadata, status: { phase: 'Terminating' } });
    expect([key, object, problems]).toEqual(['default', { name: 'default' }, []]);
  });

  it('without a name is none', () => {
    expect(trimNamespace({ metadata: {} })).toMatchObject({ key: undefined, problems: [{ field: 'metadata.name' }] });
  });
});

describe('a Pod', () => {
  const metadata = { namespace: 'default', name: 'web-1', labels: { app: 'web' } };
  const ofStatus = (status: object) => trimPod({ metadata, spec: { containers: [] }, status });

  it('is its name and addresses, canonical', () => {
    const podIPs = [{ ip: '10.244.1.2' }, { ip: 'FD00:0:0::2' }];
    expect(ofStatus({ phase: 'Running', podIP: '10.244.1.2', podIPs }).object).toEqual({
      ...{ namespace: 'default', name: 'web-1' },
      ips: ['10.244.1.2', 'fd00::2'],
    });
  });

  it('of a server that only knows podIP has that', () => {
    expect(ofStatus({ phase: 'Running', podIP: '10.244.1.2' }).object?.ips).toEqual(['10.244.1.2']);
  });

  it('without an address yet has none', () => {
    expect(ofStatus({ phase: 'Pending' })).toMatchObject({ object: { ips: [] }, problems: [] });
  });

  it.each(['Succeeded', 'Failed', 'Unknown'])('that does not live (%s) is no object', phase => {
    expect(ofStatus({ phase, podIP: '10.244.1.2' })).toMatchObject({ key: 'default/web-1', problems: [] });
    expect(ofStatus({ phase, podIP: '10.244.1.2' }).object).toBeUndefined();
  });

  it('that is being deleted is no object', () => {
    const ending = { ...metadata, deletionTimestamp: '2026-11-30T10:00:00Z' };
    const trimmed = trimPod({ metadata: ending, status: { phase: 'Running', podIP: '10.244.1.2' } });
    expect(trimmed).toMatchObject({ key: 'default/web-1', problems: [] });
    expect(trimmed.object).toBeUndefined();
  });

  it('with an address that is none has a problem, and its others', () => {
    const { object, problems } = ofStatus({ phase: 'Running', podIPs: [{ ip: 'x' }, { ip: '10.244.1.2' }] });
    expect(object?.ips).toEqual(['10.244.1.2']);
    expect(problems).toMatchObject([{ object: 'Pod default/web-1' }]);
  });
});
