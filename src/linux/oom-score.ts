import { readFile, writeFile } from 'node:fs/promises';

export interface OomScoreOptions {
  /** Other than /proc/self/oom_score_adj for tests. */
  readonly path?: string;
  readonly log: { warn(fields: object, message: string): void };
}

/**
 * Tells the kernel how readily to end this process when memory is short: -1000 (never) to 1000 (first), as kube-proxy does with
 * oomScoreAdj. Programs that we run inherit it. Lowering needs CAP_SYS_RESOURCE (proc_pid_oom_score_adj(5)); without it a warning
 * is logged and the process goes on, since it can do all its work.
 */
export async function setOomScoreAdj(value: number, options: OomScoreOptions): Promise<void> {
  const { path = '/proc/self/oom_score_adj', log } = options;
  try {
    if ((await readFile(path, 'utf8')).trim() === String(value)) return;
    await writeFile(path, String(value));
  } catch (error) {
    log.warn({ err: error }, `oomScoreAdj ${value} is not in effect: ${reasonOf(error)}`);
  }
}

/** The same for a value that may change: one that is asked for again is neither written nor warned of again. */
export function oomScoreSetter(options: OomScoreOptions): (value: number) => Promise<void> {
  let asked: number | undefined;
  return async value => {
    if (value === asked) return;
    asked = value;
    await setOomScoreAdj(value, options);
  };
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'EACCES' || code === 'EPERM') return 'to lower it, the process needs CAP_SYS_RESOURCE';
  return error instanceof Error ? error.message : String(error);
}
