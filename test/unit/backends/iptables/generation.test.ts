import { describe, expect, it } from 'vitest';
import { NftGeneration } from '../../../../src/backends/iptables/generation.ts';
import { ExecError } from '../../../../src/linux/exec.ts';

/** A kernel's counter, and ours beside it. */
function start(first = 7) {
  const kernel = { generation: first, isSilent: false };
  const unavailable: unknown[] = [];
  const generation = new NftGeneration({
    read: async () => {
      if (kernel.isSilent) throw new Error('no nf_tables');
      return kernel.generation >>> 0;
    },
    onUnavailable: error => unavailable.push(error),
  });
  const commit = () =>
    generation.counting(async () => {
      kernel.generation += 1;
    });
  const failure = (exitCode: number) =>
    new ExecError('x', { exitCode, stdout: '', stderr: '', isNotFound: false, isTimeout: false, cause: undefined });
  const fail = (exitCode: number) =>
    generation.counting(async () => Promise.reject(failure(exitCode))).catch(() => undefined);
  const mark = async () => (await generation.mark()) ?? expect.fail('no mark');
  return { kernel, generation, unavailable, commit, fail, mark };
}

describe('NftGeneration', () => {
  it('knows our commits from others', async () => {
    const { kernel, generation, commit, mark } = start();
    const first = await mark();
    expect(await generation.isOursSince(first)).toBe(true);
    await commit();
    await commit();
    expect(await generation.isOursSince(first)).toBe(true);
    kernel.generation += 1;
    expect(await generation.isOursSince(first)).toBe(false);
    await commit();
    expect(await generation.isOursSince(first)).toBe(false);
    expect(await generation.isOursSince(await mark())).toBe(true);
  });

  it('counts on past 32 bits', async () => {
    const { kernel, generation, commit, mark } = start(0xffff_ffff);
    const first = await mark();
    await commit();
    expect(await generation.isOursSince(first)).toBe(true);
    kernel.generation += 1;
    expect(await generation.isOursSince(first)).toBe(false);
  });

  it('counts nothing for a call that was refused, and proves nothing over one that was ended', async () => {
    const { generation, fail, mark } = start();
    const first = await mark();
    await fail(2);
    expect(await generation.isOursSince(first)).toBe(true);
    await fail(-1);
    expect(await generation.isOursSince(first)).toBe(false);
    expect(await generation.isOursSince(await mark())).toBe(true);
  });

  it('takes a call under way for ours, whether or not it has committed, and no mark meanwhile', async () => {
    const { kernel, generation, mark } = start();
    const first = await mark();
    const call = Promise.withResolvers<void>();
    const running = generation.counting(() => call.promise);
    expect(await generation.isOursSince(first)).toBe(true);
    kernel.generation += 1;
    expect(await generation.isOursSince(first)).toBe(true);
    kernel.generation += 1;
    expect(await generation.isOursSince(first)).toBe(false);
    expect(await generation.mark()).toBeUndefined();
    call.resolve();
    await running;
    expect(await generation.mark()).toMatchObject({ ownCommits: 1 });
  });

  it('says once that the kernel does not tell, and then knows nothing', async () => {
    const { kernel, generation, unavailable, mark } = start();
    const first = await mark();
    kernel.isSilent = true;
    expect(await generation.mark()).toBeUndefined();
    expect(await generation.isOursSince(first)).toBe(false);
    expect(unavailable).toHaveLength(1);
  });
});
