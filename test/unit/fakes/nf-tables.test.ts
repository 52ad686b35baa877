import { describe, expect, it } from 'vitest';
import { FakeNfTables } from '../../fakes/nf-tables.ts';
import { answersTo, type RangeMessage } from '../../fakes/range-batches.ts';

const WIDE = '10.0.0.0/28';
const EEXIST = 17;
const ENOENT = 2;
const refused = (errno: number, ...left: string[]) => [`message 1: ${errno}`, ...left].join(', ');

// The kernel says the same: test/integration/nf-tables.test.ts.
describe('source ranges in the kernel in memory', () => {
  const scenes: [string, readonly RangeMessage[], readonly RangeMessage[], string][] = [
    ['the same again is no error', [['add', WIDE]], [['add', WIDE]], WIDE],
    ['one in another is refused', [['add', WIDE]], [['add', '10.0.0.4/30']], refused(EEXIST, WIDE)],
    ['one around the end of another', [['add', '10.0.0.8/29']], [['add', WIDE]], refused(EEXIST, '10.0.0.8/29')],
    ['one far around another is overlooked', [['add', '10.0.0.4/30']], [['add', WIDE]], `${WIDE}, 10.0.0.4/30`],
    [
      'the old one may go before',
      [['add', '10.0.0.8/29']],
      [
        ['delete', '10.0.0.8/29'],
        ['add', WIDE],
      ],
      WIDE,
    ],
    [
      'but not behind',
      [['add', '10.0.0.8/29']],
      [
        ['add', WIDE],
        ['delete', '10.0.0.8/29'],
      ],
      refused(EEXIST, '10.0.0.8/29'),
    ],
    ['a beginning is enough to delete', [['add', WIDE]], [['delete', '10.0.0.4/30']], ''],
    ['what is not there', [['add', '10.0.0.8/29']], [['delete', WIDE]], refused(ENOENT, '10.0.0.8/29')],
  ];

  it.each(scenes)('%s', async (_, before, batch, expected) => {
    expect((await answersTo(new FakeNfTables(), [before, batch])).at(-1)).toBe(expected);
  });
});
