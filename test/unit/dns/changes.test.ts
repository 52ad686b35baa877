/** Whatever happened before, and whatever was asked meanwhile: an engine answers as one that only ever saw how things are now. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DnsChange } from '../../../src/dns/engine.ts';
import { EngineLab, serviceChange } from './engine-lab.ts';

const NAMESPACES = ['default', 'other'];
const NAMES = ['web', 'db'];
const IPS = ['10.244.1.1', '10.244.1.2', 'fd00::1'];
const HTTP = { name: 'http', protocol: 'TCP', port: 80 };

const endpoints = fc
  .array(fc.tuple(fc.constantFrom(...IPS), fc.constantFrom('', ' pod-0', ' pod-1')), { maxLength: 4 })
  .map(lines => lines.map(([ip, label]) => `${ip}${label}`).join('\n'));
const service: fc.Arbitrary<DnsChange> = fc
  .record({
    namespace: fc.constantFrom(...NAMESPACES),
    name: fc.constantFrom(...NAMES),
    kind: fc.constantFrom('cluster-ip', 'headless', 'external-name', 'gone'),
    clusterIPs: fc.constantFrom(['10.96.0.1'], ['10.96.0.2', 'fd00:96::2'], ['10.96.0.1', 'fd00:96::1']),
    endpoints,
    externalName: fc.constantFrom('web.default.svc.cluster.local', 'db.other.svc.cluster.local'),
    ports: fc.constantFrom([HTTP], [], [HTTP, { name: 'dns', protocol: 'UDP', port: 53 }]),
  })
  .map(({ namespace, name, kind, ...rest }): DnsChange => {
    if (kind === 'gone') return { kind: 'service', namespace, name, service: undefined };
    const isName = kind === 'external-name';
    const own = { kind: kind as 'headless', clusterIPs: kind === 'cluster-ip' ? rest.clusterIPs : [] };
    const more = isName ? { externalName: rest.externalName } : { endpoints: rest.endpoints };
    return serviceChange(name, { namespace, ports: rest.ports, endpointPorts: rest.ports, ...own, ...more });
  });
const namespace: fc.Arbitrary<DnsChange> = fc.record({
  kind: fc.constant('namespace'),
  name: fc.constantFrom(...NAMESPACES),
  exists: fc.boolean(),
});
const pods: fc.Arbitrary<DnsChange> = fc
  .tuple(fc.constantFrom(...NAMESPACES), fc.constantFrom(...IPS), fc.boolean())
  .map(([ns, ip, isThere]) => ({
    kind: 'pods',
    namespace: ns,
    added: isThere ? [ip] : [],
    removed: isThere ? [] : [ip],
  }));
const change = fc.oneof({ weight: 4, arbitrary: service }, namespace, pods);

/** All that can be asked of this small world. */
const QUESTIONS = [
  ...NAMESPACES.flatMap(ns => [
    [`${ns}.svc.cluster.local`, 'A'],
    [`10-244-1-1.${ns}.pod.cluster.local`, 'A'],
    ...NAMES.flatMap(name => {
      const own = `${name}.${ns}.svc.cluster.local`;
      const labels = ['10-244-1-1', 'pod-0', 'pod-1', '_tcp'].map(label => [`${label}.${own}`, 'A']);
      const srv = [own, `_http._tcp.${own}`, `pod-0.${own}`].map(each => [each, 'SRV']);
      return [[own, 'A'], [own, 'AAAA'], [own, 'CNAME'], [own, 'TXT'], ...labels, ...srv];
    }),
  ]),
  ...['1.0.96.10', '2.0.96.10', '1.1.244.10', '2.1.244.10'].map(each => [`${each}.in-addr.arpa`, 'PTR']),
].map(([name = '', type = '']) => [name, type] as const);

/** How things are after all of them, said once. */
function finalOf(changes: readonly DnsChange[]): readonly DnsChange[] {
  const last = new Map<string, DnsChange>();
  for (const each of changes) {
    const key =
      each.kind === 'service'
        ? `service ${each.namespace}/${each.name}`
        : each.kind === 'namespace'
          ? `namespace ${each.name}`
          : `pods ${each.namespace} ${[...each.added, ...each.removed].join()}`;
    last.set(key, each);
  }
  return [...last.values()];
}

/** Records in no order: addresses are turned. */
async function said(lab: EngineLab, [name, type]: readonly [string, string]): Promise<unknown> {
  const { rcode, packet } = await lab.ask(name, type, { isTcp: true });
  const sorted = (records: readonly object[] = []) => records.map(record => JSON.stringify(record)).toSorted();
  return { name, type, rcode, all: [packet.answers, packet.authorities, packet.additionals].map(sorted) };
}

describe('changes', () => {
  it('in any order, with questions between them, end where a cold start of the last state begins', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { maxLength: 12 }),
        fc.array(fc.nat(QUESTIONS.length - 1)),
        async (changes, asked) => {
          const old = new EngineLab({ pods: 'verified' });
          for (const each of changes) {
            old.engine.apply([each]);
            for (const i of asked) await old.ask(...QUESTIONS[i]!);
          }
          const fresh = new EngineLab({ pods: 'verified', changes: finalOf(changes).toReversed() });
          for (const question of QUESTIONS) expect(await said(old, question)).toEqual(await said(fresh, question));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('make void what is kept: after each one every answer is as a fresh engine has it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async changes => {
        const old = new EngineLab({ pods: 'verified' });
        for (const [i, each] of changes.entries()) {
          old.engine.apply([each]);
          const fresh = new EngineLab({ pods: 'verified', changes: finalOf(changes.slice(0, i + 1)) });
          // Asked twice: what is made is kept for the next round.
          for (const question of QUESTIONS) {
            const first = await said(fresh, question);
            expect(await said(old, question)).toEqual(first);
            expect(await said(old, question)).toEqual(first);
          }
        }
      }),
      { numRuns: 40 },
    );
  });
});
