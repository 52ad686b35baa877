import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { parseConfiguration } from '../../../src/config/load.ts';
import { addDnsMetrics } from '../../../src/dns/host/metrics.ts';
import { projectDir } from '../../../src/lab/install.ts';

const page = readFileSync(join(projectDir, 'docs/dns.md'), 'utf8');
const vectors = readFileSync(join(projectDir, 'test/conformance/vectors/dns-public.json'), 'utf8');
const { suites } = JSON.parse(vectors) as { readonly suites: readonly { readonly name: string }[] };
const suiteNames = new Set(suites.map(({ name }) => name));

/** The last cells of the tables of specification and behaviours: `vectors \`a\`, \`b\`; unit \`c\`; integration \`d\``. */
const evidence = page
  .slice(page.indexOf('## The specification'))
  .split('\n')
  .filter(line => line.startsWith('| ') && !line.startsWith('| --'))
  .map(line => line.slice(1, -1).split('|').at(-1)?.trim() ?? '')
  .flatMap(cell => cell.split('; '))
  .flatMap(part => {
    const [kind = ''] = part.split(' ');
    return [...part.matchAll(/`([^`]+)`/g)].map(([, name = '']) => ({ kind, name }));
  });

function exists({ kind, name }: { readonly kind: string; readonly name: string }): boolean {
  if (kind === 'vectors') return suiteNames.has(name);
  const directory = { unit: 'test/unit/dns', integration: 'test/integration' }[kind];
  return directory !== undefined && existsSync(join(projectDir, directory, `${name}.test.ts`));
}

test('every suite and test that the tables name is there', () => {
  expect(evidence.length).toBeGreaterThan(80);
  expect(evidence.filter(one => !exists(one))).toEqual([]);
});

test('the page has every metric of names, and no others', () => {
  const registry = new Registry();
  addDnsMetrics(registry, async () => []);
  const served = registry.getMetricsAsArray().map(({ name }) => name);
  const rows = [...page.matchAll(/^\| `(kproxy_dns_\w+)`/gm)].map(([, name]) => name);
  expect(rows.toSorted()).toEqual(served.toSorted());
});

test('every example of a configuration is valid', () => {
  const examples = [...page.matchAll(/```yaml\n(.*?)```/gs)].map(([, text = '']) =>
    text.startsWith('apiVersion') ? text : `apiVersion: kproxy-ts.dev/v1alpha1\nkind: NodeConfiguration\n${text}`,
  );
  expect(examples).toHaveLength(2);
  for (const example of examples)
    expect(parseConfiguration(example, 'the example').configuration.dns.enabled).toBe(true);
});
