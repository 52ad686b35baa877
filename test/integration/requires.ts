import { describe } from 'vitest';

/** Tests that need what this machine may not have: with a `lacking`, skipped, and the title says why. */
export function describeUnless(lacking: string, title: string, body: () => void): void {
  if (lacking === '') describe(title, body);
  else describe.skip(`${title} (skipped: ${lacking})`, body);
}
