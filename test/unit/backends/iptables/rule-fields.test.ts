import { describe, expect, it } from 'vitest';
import { parseEndpoint, parseRule } from '../../../../src/backends/iptables/rule-fields.ts';

describe('parseRule', () => {
  it('reads an entry', () => {
    const rule =
      '-d 10.96.0.10/32 -p tcp -m comment --comment "default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC-A';
    expect(parseRule(rule)).toEqual({
      comment: 'default/web:http cluster IP',
      destination: '10.96.0.10',
      protocol: 'tcp',
      destinationPort: 80,
      jump: 'KUBE-SVC-A',
      toDestination: '',
    });
  });

  it('takes no option from a comment, and no negated or wide destination', () => {
    expect(parseRule('-m comment --comment "say \\"-d 10.0.0.1\\" -j X" -j Y')).toMatchObject({
      comment: 'say "-d 10.0.0.1" -j X',
      destination: '',
      jump: 'Y',
    });
    expect(parseRule('! -d 127.0.0.0/8 -j KUBE-NODEPORTS')).toMatchObject({ destination: '' });
    expect(parseRule('! -d 10.0.0.1/32 -j X')).toMatchObject({ destination: '' });
    expect(parseRule('-d 10.0.0.0/8 -j X')).toMatchObject({ destination: '' });
  });

  it('reads IPv6 and bare comments', () => {
    expect(
      parseRule('-d fd00::1/128 -p udp -m comment --comment kube -j DNAT --to-destination [fd00::2]:53'),
    ).toMatchObject({ destination: 'fd00::1', comment: 'kube', toDestination: '[fd00::2]:53', jump: 'DNAT' });
    expect(parseEndpoint('[fd00::2]:53')).toEqual({ ip: 'fd00::2', port: 53 });
    expect(parseEndpoint('10.0.0.1:80')).toEqual({ ip: '10.0.0.1', port: 80 });
    expect(parseEndpoint('10.0.0.1')).toBeUndefined();
  });
});
