import { describe, expect, it, vi } from 'vitest';
import { OwnEndpoint } from '../../../../src/dns/host/own-endpoint.ts';

const FACTS = { enabled: true, service: 'kube-system/kube-dns', ips: ['192.0.2.11'] };
const OUT = { service: FACTS.service, ips: FACTS.ips };
const SERVED = [{ ip: '10.96.0.10', port: 53 }];

describe('the own endpoint of the DNS Service', () => {
  it('is out from the start until it is known whether it is served, and nobody plans twice for that', () => {
    const onChange = vi.fn();
    const own = new OwnEndpoint(onChange);
    expect(own.tell(FACTS)).toEqual(OUT);
    own.note(SERVED, FACTS);
    expect(onChange).not.toHaveBeenCalled();
    expect(own.tell(FACTS)).toEqual(OUT);
  });

  it('is one as any other where it turns out not to be served', () => {
    const onChange = vi.fn();
    const own = new OwnEndpoint(onChange);
    own.tell(FACTS);
    own.note([], FACTS);
    expect(onChange).toHaveBeenCalledTimes(1);
    expect(own.tell(FACTS)).toBeUndefined();
  });

  it('is not looked at where DNS was never enabled, and stays out once it has been', () => {
    const own = new OwnEndpoint(() => undefined);
    const disabled = { ...FACTS, enabled: false };
    expect(own.tell(disabled)).toBeUndefined();
    own.note(SERVED, FACTS);
    own.note([], disabled);
    expect(own.tell(disabled)).toEqual(OUT);
    own.note([], FACTS);
    expect(own.tell(FACTS)).toBeUndefined();
  });

  it('has whoever plans ask again when the node has other addresses, or DNS is enabled', () => {
    const onChange = vi.fn();
    const own = new OwnEndpoint(onChange);
    own.tell({ ...FACTS, enabled: false });
    own.look(FACTS);
    expect(onChange).toHaveBeenCalledTimes(1);
    own.tell(FACTS);
    own.look({ ...FACTS, ips: ['192.0.2.12'] });
    expect(onChange).toHaveBeenCalledTimes(2);
  });
});
