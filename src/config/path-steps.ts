import { readlink } from 'node:fs/promises';
import { dirname, isAbsolute, join, resolve } from 'node:path';

/** As many symlinks as the kernel follows (path_resolution(7)). */
const MOST_LINKS = 40;

/** One entry of a directory that decides which file a path names; the directory's path has no symlinks. */
export interface PathStep {
  readonly directory: string;
  readonly name: string;
}

/**
 * Every directory entry on the way to the file that a path names, symlinks followed: whoever replaces one of them replaces the
 * file. In a ConfigMap volume these are `config.conf`, `..data` and the directory with the date, which a swap of `..data` replaces.
 * What doesn't exist yet is a step too.
 */
export async function pathSteps(path: string): Promise<PathStep[]> {
  const steps: PathStep[] = [];
  const left = partsOf(resolve(path));
  let directory = '/';
  let links = 0;
  for (let name = left.shift(); name !== undefined; name = left.shift()) {
    if (name === '..') {
      directory = dirname(directory);
      continue;
    }
    steps.push({ directory, name });
    const target = links < MOST_LINKS ? await linkTarget(join(directory, name)) : undefined;
    if (target === undefined) {
      directory = join(directory, name);
      continue;
    }
    links += 1;
    if (isAbsolute(target)) directory = '/';
    left.unshift(...partsOf(target));
  }
  return steps;
}

function partsOf(path: string): string[] {
  return path.split('/').filter(part => part !== '' && part !== '.');
}

/** Where a symlink points; undefined for what is none, or isn't there. */
async function linkTarget(path: string): Promise<string | undefined> {
  try {
    return await readlink(path);
  } catch {
    return undefined; // EINVAL = no symlink; whatever else is wrong with it, reading the file says so.
  }
}
