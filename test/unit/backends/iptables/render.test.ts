import { describe, expect, it } from 'vitest';
import { diff } from '../../../../src/backends/diff.ts';
import type { IptablesObject } from '../../../../src/backends/iptables/objects.ts';
import { planRoute } from '../../../../src/backends/iptables/plan.ts';
import { render, stepsOf } from '../../../../src/backends/iptables/render.ts';
import { planShared } from '../../../../src/backends/iptables/shared-rules.ts';
import { categorize } from '../../../../src/endpoints/categorize.ts';
import { endpoint, IPTABLES_OPTIONS, servicePort } from '../../../fakes/objects.ts';

function plan(ips: readonly string[]): ReadonlyMap<string, IptablesObject> {
  const port = servicePort();
  const endpoints = ips.map(ip => endpoint(ip));
  const route = { servicePort: port, endpoints, ...categorize(endpoints, port, { name: 'node-a', zone: '' }) };
  return planRoute(route, IPTABLES_OPTIONS);
}

const commands = (from: readonly string[], to: readonly string[]) =>
  render(stepsOf(diff(plan(from), plan(to)))).split('\n');
const position = (lines: string[], pattern: RegExp) => lines.findIndex(line => pattern.test(line));

describe('render', () => {
  it('is empty for no changes', () => {
    expect(render(stepsOf(diff(plan(['10.244.1.2']), plan(['10.244.1.2']))))).toBe('');
  });

  it('replaces an endpoint in one transaction, the new chain first, the old one last', () => {
    const lines = commands(['10.244.1.2'], ['10.244.1.3']);
    expect(lines.filter(line => line === 'COMMIT')).toHaveLength(1);
    expect(position(lines, /^-A KUBE-SEP-.*10.244.1.3:8080/)).toBeLessThan(
      position(lines, /^-A KUBE-SVC-.*10.244.1.3/),
    );
    expect(position(lines, /^-A KUBE-SVC-.*10.244.1.3/)).toBeLessThan(position(lines, /^-X KUBE-SEP-/));
  });

  it('takes the refusal away only after the entry came', () => {
    const lines = commands([], ['10.244.1.2']);
    expect(position(lines, /^-I KUBE-SERVICES .*KUBE-SVC/)).toBeLessThan(position(lines, /^-D KUBE-SERVICES .*REJECT/));
  });

  it('refuses before the entry goes', () => {
    const lines = commands(['10.244.1.2'], []);
    expect(position(lines, /^-I KUBE-SERVICES .*REJECT/)).toBeLessThan(position(lines, /^-D KUBE-SERVICES .*KUBE-SVC/));
  });

  it('jumps from the built-in chains last at a cold start, to the node ports at the end of KUBE-SERVICES', () => {
    const lines = render(
      stepsOf(diff(new Map(), new Map([...planShared(IPTABLES_OPTIONS), ...plan(['10.244.1.2'])]))),
    ).split('\n');
    expect(position(lines, /^-I PREROUTING/)).toBeGreaterThan(position(lines, /^-I KUBE-SERVICES .*KUBE-SVC/));
    expect(lines.filter(line => line.startsWith('-A KUBE-SERVICES'))).toEqual([
      expect.stringContaining('KUBE-NODEPORTS'),
    ]);
  });

  it('does not look for single rules in a chain that goes as a whole', () => {
    const all = new Map([...planShared(IPTABLES_OPTIONS), ...plan(['10.244.1.2'])]);
    const lines = render(stepsOf(diff(all, new Map()))).split('\n');
    expect(lines.filter(line => line.startsWith('-D KUBE-'))).toEqual([]);
    expect(lines).toContain('-X KUBE-SERVICES');
  });
});
