import { describe, expect, it } from 'vitest';
import { diff } from '../../../../src/backends/diff.ts';
import { parse } from '../../../../src/backends/iptables/parse.ts';
import { render, stepsOf } from '../../../../src/backends/iptables/render.ts';
import { planShared } from '../../../../src/backends/iptables/shared-rules.ts';
import { IPTABLES_OPTIONS } from '../../../fakes/objects.ts';

describe('parse', () => {
  it("takes kube-proxy's refusals and health check ports over, deletes those of no Service, and leaves the kubelet's firewall", () => {
    const left = parse(
      [
        '*filter',
        ':KUBE-FIREWALL - [0:0]',
        ':KUBE-NODEPORTS - [0:0]',
        ':KUBE-PROXY-FIREWALL - [0:0]',
        '-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
        '-A INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS',
        '-A INPUT -j KUBE-FIREWALL',
        '-A KUBE-NODEPORTS -p tcp -m tcp --dport 32000 -j ACCEPT',
        '-A KUBE-PROXY-FIREWALL -d 192.0.2.11/32 -p tcp -m tcp --dport 80 -j DROP',
        'COMMIT',
        '',
      ].join('\n'),
      'filter',
    );
    const commands = render(stepsOf(diff(left, planShared(IPTABLES_OPTIONS)))).split('\n');
    expect(commands.filter(command => /^-[DX]/.test(command))).toEqual([
      '-D KUBE-NODEPORTS -p tcp -m tcp --dport 32000 -j ACCEPT',
      '-D KUBE-PROXY-FIREWALL -d 192.0.2.11/32 -p tcp -m tcp --dport 80 -j DROP',
    ]);
  });
});
