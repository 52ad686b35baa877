import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ANNOTATIONS } from '../../../src/cni/config/requested.ts';
import { COOL_DOWN_MS } from '../../../src/cni/ipam/pool.ts';
import { FORWARD_CHAIN } from '../../../src/cni/rules/names.ts';
import { CODE } from '../../../src/cni/types.ts';
import { parseConfiguration } from '../../../src/config/load.ts';
import { projectDir } from '../../../src/lab/install.ts';

const page = readFileSync(join(projectDir, 'docs/cni.md'), 'utf8');

/** The rows of the table of tests: a file, and the cases that it has. */
const tested = [...page.matchAll(/^\| `((?:unit|integration)\/[^`]+)` +\| (.*?) +\|$/gm)].map(
  ([, file = '', cases = '']) => [file, cases.split(', ')] as const,
);

/** The cases that names of tests begin with, or mention after that. */
function casesOf(file: string): ReadonlySet<string> {
  const text = readFileSync(join(projectDir, 'test', `${file}.test.ts`), 'utf8');
  const names = [...text.matchAll(/(['"`])([A-Z]\d{2}\b(?:(?!\1).)*)\1/g)].map(([, , name = '']) => name);
  return new Set(names.flatMap(name => name.match(/\b[A-Z]\d{2}\b/g) ?? []));
}

/** Names of a configuration's fields in the sources that read them. */
function fieldsOf(file: string): string[] {
  const text = readFileSync(join(projectDir, 'src/cni/config', file), 'utf8');
  return [...text.matchAll(/fields\.(?:flag|text|integer|list)\('(\w+)'/g)].map(([, name]) => name!);
}

describe('docs/cni.md', () => {
  test('has every code', () => {
    const rows = [...page.matchAll(/^\| (\d+) +\|/gm)].map(([, code]) => Number(code));
    expect(rows).toEqual(Object.values(CODE).toSorted((a, b) => a - b));
  });

  test('has every field of the network', () => {
    const fields = [...fieldsOf('network.ts'), ...fieldsOf('requested.ts')];
    expect(fields.length).toBeGreaterThan(12);
    for (const field of fields) expect(page, field).toContain(`\`${field}\``);
  });

  test('has the annotations, the chain, and how long addresses rest', () => {
    for (const name of Object.values(ANNOTATIONS)) expect(page).toContain(`\`${name}\``);
    expect(page).toContain(`\`${FORWARD_CHAIN}\``);
    expect(page).toContain(`rest for ${COOL_DOWN_MS / 1000} s`);
  });

  test('names only cases that its tests have', () => {
    expect(tested.length).toBeGreaterThan(20);
    for (const [file, cases] of tested) {
      const found = casesOf(file);
      expect([file, cases.filter(id => !found.has(id))]).toEqual([file, []]);
    }
  });

  test('has examples that are valid', () => {
    const [, yaml = ''] = /```yaml\n(.*?)```/s.exec(page) ?? [];
    const { configuration, warnings } = parseConfiguration(yaml, 'the example');
    expect(configuration.cni.enabled).toBe(true);
    // It is a part of a configuration: kube-proxy's own document has the pods' ranges.
    expect(warnings.filter(warning => !warning.startsWith('clusterCIDR '))).toEqual([]);
    const [, list = ''] = /conflist\n(\{.*?\n\})\n/s.exec(page) ?? [];
    expect(JSON.parse(list)).toMatchObject({ plugins: [{ type: 'kproxy-cni', ipam: { type: 'kproxy-cni' } }] });
  });
});
