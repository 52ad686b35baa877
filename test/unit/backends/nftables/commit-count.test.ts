import { describe, expect, it } from 'vitest';
import { CommitCount } from '../../../../src/backends/nftables/commit-count.ts';

/** A kernel whose generation the test raises. */
function kernel() {
  let generation = 41;
  const count = new CommitCount(async () => generation);
  return {
    count,
    commit: () => {
      generation += 1;
      count.noteOwn();
    },
    commitByOthers: () => {
      generation += 1;
    },
  };
}

describe('CommitCount', () => {
  it('knows our own commits', async () => {
    const { count, commit } = kernel();
    commit();
    await count.begin();
    expect(await count.areAllOurs()).toBe(true);
    commit();
    commit();
    expect(await count.areAllOurs()).toBe(true);
  });

  it('knows that somebody else has committed since the first begin, for ever', async () => {
    const { count, commit, commitByOthers } = kernel();
    commitByOthers();
    await count.begin();
    commit();
    commitByOthers();
    await count.begin();
    commit();
    expect(await count.areAllOurs()).toBe(false);
  });

  it('is in doubt about a commit of ours whose end it hasn’t seen', async () => {
    const { count, commit, commitByOthers } = kernel();
    await count.begin();
    commitByOthers();
    expect(await count.areAllOurs()).toBe(false);
    commit();
    expect(await count.areAllOurs()).toBe(false);
  });

  it('is in doubt when nothing began, and where the generation can’t be told', async () => {
    expect(await kernel().count.areAllOurs()).toBe(false);
    const blind = new CommitCount(() => Promise.reject(new Error('no netlink')));
    await blind.begin();
    expect(await blind.areAllOurs()).toBe(false);
  });
});
