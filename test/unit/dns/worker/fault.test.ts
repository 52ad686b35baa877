import { expect, test } from 'vitest';
import { errorOf, faultOf } from '../../../../src/dns/worker/fault.ts';

test.for([
  ['with what cannot be cloned', Object.assign(new Error('bad'), { socket: () => undefined, cause: () => undefined })],
  ['that is none', 'bad'],
] as const)('an error %s comes to the other thread with its text', ([, error]) => {
  const sent = structuredClone(faultOf(error));
  expect(errorOf(sent)).toMatchObject({ message: 'bad' });
  if (error instanceof Error) expect(errorOf(sent).stack).toBe(error.stack);
});
