import { expect, test } from 'vitest';
import { Turns } from '../../../../src/dns/worker/turns.ts';

test('a few at once; more in their order, with turns of the event loop between', async () => {
  const batches: (readonly number[])[] = [];
  const turns = new Turns<number>(items => batches.push(items), 2);
  turns.add([1]);
  expect(batches).toEqual([[1]]);
  turns.add([2, 3, 4, 5]);
  turns.add([6]);
  expect(batches.flat()).toEqual([1, 2, 3]);
  let hasTurned = false;
  setImmediate(() => {
    hasTurned = true;
  });
  await turns.settled();
  expect(hasTurned).toBe(true);
  expect(batches).toEqual([[1], [2, 3], [4, 5], [6]]);
});
