import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { prepareRuntimeDir, RuntimeDirError } from '../../../src/lifecycle/runtime-dir.ts';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kpx-run-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe('the runtime directory', () => {
  test("is made, for root alone, with its lock files; what's there already stays", async () => {
    const path = join(directory, 'a', 'b');
    const paths = await prepareRuntimeDir(path);
    expect(paths).toEqual({
      socket: `${path}/daemon.sock`,
      lock: `${path}/lock`,
      next: `${path}/next`,
      takenOver: `${path}/taken-over`,
      agentSocket: `${path}/cni.sock`,
      deferred: `${path}/cni-deferred`,
    });
    writeFileSync(paths.lock, '4711\n');
    await prepareRuntimeDir(path);
    expect([statSync(path).mode & 0o777, statSync(paths.lock).mode & 0o777]).toEqual([0o700, 0o600]);
    expect(statSync(paths.lock).size).toBe(5);
  });

  test('is refused with the reason when it cannot be', async () => {
    const file = join(directory, 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'below')]) {
      const reason = 'something in its path is not a directory (--runtime-dir names another)';
      await expect(prepareRuntimeDir(path)).rejects.toThrow(
        new RuntimeDirError(path, 'something in its path is not a directory'),
      );
      await expect(prepareRuntimeDir(path)).rejects.toThrow(`can't use the runtime directory ${path}: ${reason}`);
    }
  });

  test('is refused when its socket would have too long a path', async () => {
    await expect(prepareRuntimeDir(join(directory, 'x'.repeat(100)))).rejects.toThrow('its path may have 95 bytes');
  });
});
