import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ANNOTATIONS } from '../../../src/cni/config/requested.ts';
import { COOL_DOWN_MS } from '../../../src/cni/ipam/pool.ts';
import { FORWARD_CHAIN } from '../../../src/cni/rules/names.ts';
import { CODE } from '../../../src/cni/types.ts';
import { projectDir } from '../../../src/lab/install.ts';

const page = readFileSync(join(projectDir, 'docs/cni.md'), 'utf8');

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
});
