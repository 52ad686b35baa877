import { expect, test } from 'vitest';
import { renderTable } from '../../../src/text/table.ts';

test('tables align their columns and leave no blanks at the end', () => {
  expect(renderTable([['NAME', 'X'], ['a', 'long', 'z'], ['longer']])).toBe('NAME    X\na       long  z\nlonger\n');
  expect(renderTable([])).toBe('');
});
