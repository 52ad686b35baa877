import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { addressOf } from '../../src/cni/ipam/attachment.ts';
import { AttachmentStore, type OpenOutcome } from '../../src/cni/ipam/store.ts';
import { obstacle } from '../../src/lab/netns.ts';
import { run } from '../../src/linux/exec.ts';
import { describeUnless } from './requires.ts';

const MAIN = fileURLToPath(new URL('./cni-store-main.ts', import.meta.url));
const KILLS = 25;

describeUnless(await obstacle(), 'the store of attachments on a real disk', () => {
  let directory = '';
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'cni-store-disk-'));
  });
  afterAll(() => rmSync(directory, { recursive: true }));

  async function told(what: string): Promise<Record<string, unknown>> {
    const { stdout } = await run('unshare', ['--mount', process.execPath, MAIN, what, directory], {
      timeoutMs: 50_000,
    });
    return JSON.parse(stdout);
  }

  it('F06 full: an ADD is refused with nothing held, a DEL is not; all is well when there is room again', async () => {
    expect(await told('full')).toEqual({
      last: 104,
      // With its hostPort: the first try has left none behind.
      again: [104, 104],
      problem: expect.stringContaining('full'),
      stillThere: true,
      released: 0,
      whileFull: { size: expect.any(Number), ports: 104 },
      recovered: true,
      after: [0, 0],
      isSame: true,
      sizes: [0, 1],
    });
  });

  it('F06 read-only: the same, and what was there is found when it can be written', async () => {
    const { problem, ...rest } = await told('read-only');
    expect(problem).toEqual(expect.stringContaining('state directory'));
    expect(rest).toEqual({ refused: [104, 0], recovered: true, after: 0, names: ['c1'] });
  });

  it(`F05 kill -9 at ${KILLS} random moments: what was promised is there, what was not is there or not, no address twice`, async () => {
    const place = join(directory, 'killed');
    for (let round = 0; round < KILLS; round++) {
      const child = spawn(process.execPath, [MAIN, 'write', place], { stdio: ['ignore', 'pipe', 'inherit'] });
      const before = namesAt(place);
      const saying = text(child.stdout);
      // From its first word on it writes.
      child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), Math.random() * 80));
      const said = await saying;
      const { sure, unsure } = reading(said, before);
      const outcomes: OpenOutcome[] = [];
      const after = namesAt(place, outcomes);
      expect(said).not.toBe('');
      expect(outcomes).toMatchObject([{ badRows: [] }]);
      expect(outcomes[0]).not.toHaveProperty('movedAside');
      expect(after.filter(name => !unsure.has(name)).toSorted()).toEqual([...sure].toSorted());
    }
  });
});

/** Who is in the store that no process has open. */
function namesAt(directory: string, outcomes: OpenOutcome[] = []): readonly string[] {
  using store = AttachmentStore.open({
    directory,
    bootId: 'b',
    now: () => 0,
    onOpen: outcome => void outcomes.push(outcome),
  });
  const addresses = store.all().flatMap(kept => kept.addresses.map(addressOf));
  expect(new Set(addresses).size).toBe(addresses.length);
  return store.all().map(({ id }) => id.containerID);
}

/** What the killed one said: who must be there, and of whom nothing is known. */
function reading(said: string, before: readonly string[]): { sure: ReadonlySet<string>; unsure: ReadonlySet<string> } {
  const sure = new Set(before);
  const unsure = new Set<string>();
  for (const line of said.split('\n').slice(0, -1)) {
    const name = line.slice(1);
    if (line.startsWith('?')) unsure.add(name);
    else unsure.delete(name);
    if (line.startsWith('+')) sure.add(name);
    else sure.delete(name);
  }
  return { sure, unsure };
}
