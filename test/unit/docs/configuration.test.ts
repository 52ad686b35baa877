import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { effectiveLeaves, valueText } from '../../../src/config/differences.ts';
import { FIELD_EFFECTS, NODE_PATH_PREFIX } from '../../../src/config/field-effects.ts';
import { FIELD_FLAGS, OTHER_FLAGS } from '../../../src/config/flags.ts';
import { defaultConfiguration, parseConfiguration } from '../../../src/config/load.ts';
import { projectDir } from '../../../src/lab/install.ts';

const page = readFileSync(join(projectDir, 'docs/configuration.md'), 'utf8');

/** The rows of the table under a heading, without their padding and backticks. */
function tableUnder(heading: string): string[][] {
  const section = page.split(/^## /m).find(part => part.startsWith(`${heading}\n`)) ?? '';
  const [, , ...rows] = section.split('\n').filter(line => line.startsWith('|'));
  return rows.map(row =>
    row
      .slice(1, -1)
      .split('|')
      .map(cell => cell.trim().replaceAll('`', '')),
  );
}

const defaults = new Map(effectiveLeaves(defaultConfiguration().fields));

/** What the table must say of each field, but for its meaning. */
function factsOf(isOurs: boolean): string[][] {
  return Object.entries(FIELD_EFFECTS)
    .filter(([path]) => path.startsWith(NODE_PATH_PREFIX) === isOurs)
    .map(([path, { takesEffect }]) => [
      path.replace(NODE_PATH_PREFIX, ''),
      valueText(defaults.get(path)),
      takesEffect === 'never' ? 'not used' : takesEffect,
    ]);
}

test.each([
  ['Fields of KubeProxyConfiguration', false],
  ['Fields of NodeConfiguration', true],
])('%s: every field with its default and when a change takes effect, and a meaning', (heading, isOurs) => {
  const rows = tableUnder(heading);
  expect(rows.map(row => row.slice(0, 3))).toEqual(factsOf(isOurs));
  expect(rows.filter(row => (row[3] ?? '') === '')).toEqual([]);
});

test('every reason why a field is not used, or only at the next start', () => {
  const text = page.replaceAll('`', '');
  const reasons = Object.values(FIELD_EFFECTS).flatMap(({ why }) => (why === undefined ? [] : [why]));
  expect(reasons.filter(why => !text.includes(`(${why})`))).toEqual([]);
});

test('every flag with its field, and whether it holds with --config', () => {
  const others = OTHER_FLAGS.map(flag => ({ ...flag, field: undefined }));
  const facts = [...FIELD_FLAGS, ...others].map(({ name, field, isBesideFile }) => ({
    flag: `--${name}`,
    field,
    beside: isBesideFile === true ? 'holds' : 'ignored',
  }));
  const rows = tableUnder('Flags').map(([flag = '', sets, beside]) => {
    const isField = facts.some(fact => fact.flag === flag && fact.field !== undefined);
    return { flag, field: isField ? sets : undefined, beside };
  });
  const byName = (a: { flag: string }, b: { flag: string }) => (a.flag < b.flag ? -1 : 1);
  expect(rows).toEqual(facts.toSorted(byName));
});

test('the example is valid, without a warning', () => {
  const [, example = ''] = /```yaml\n(.*?)```/s.exec(page) ?? [];
  expect(parseConfiguration(example, 'the example').warnings).toEqual([]);
});
