/** The kernel's settings that are files with a number. */
import { readFile, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import {
  type ConntrackSettings,
  conntrackHashsize,
  conntrackSysctls,
  type KernelSetting,
} from '../conntrack/settings.ts';

export interface SettingsOptions {
  readonly log: Record<'info' | 'warn', (fields: object, message: string) => void>;
  /** Before each file's path; other than '' for tests. */
  readonly root?: string;
  /** Called when a file is missing: makes the kernel load what it belongs to. */
  readonly load?: () => Promise<unknown>;
}

/** Everything that the configuration asks of conntrack, on this machine. */
export function conntrackSettings(settings: ConntrackSettings): KernelSetting[] {
  // Those of the machine, not those that this process may use.
  const cores = cpus().length;
  return [...conntrackSysctls(settings, cores), ...conntrackHashsize(settings, cores)];
}

/**
 * Writes what differs, with a line for what was changed. What can't be written (a read-only /proc/sys, as in a container without
 * privileges) is named in a warning, with the value that stays: the rules work without it. A function that keeps in mind what it warned of last.
 */
export function settingsWriter(options: SettingsOptions): (settings: readonly KernelSetting[]) => Promise<void> {
  const { log } = options;
  let warned = '';
  return async settings => {
    const changed: string[] = [];
    const failures: string[] = [];
    for (const setting of settings) {
      const outcome = await write(setting, options);
      if (outcome?.isFailure === true) failures.push(outcome.text);
      else if (outcome !== undefined) changed.push(outcome.text);
    }
    const fields = { component: 'conntrack' };
    if (changed.length > 0) log.info(fields, `kernel settings written: ${changed.join(', ')}`);
    const text = failures.join('; ');
    if (text !== '' && text !== warned) log.warn(fields, `kernel settings are not in effect: ${text}`);
    warned = text;
  };
}

/** Whether conntrack takes packets for valid that it cannot place. Not where the kernel has no conntrack yet. */
export async function isConntrackLiberal(root = ''): Promise<boolean> {
  try {
    return (await readFile(`${root}/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal`, 'utf8')).trim() === '1';
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

interface Outcome {
  readonly isFailure: boolean;
  readonly text: string;
}

/** undefined = nothing to do. */
async function write(
  { name, file, value, isLeast }: KernelSetting,
  options: SettingsOptions,
): Promise<Outcome | undefined> {
  const path = `${options.root ?? ''}${file}`;
  let before = '';
  try {
    before = await read(path, options);
    if (isLeast === true ? Number(before) >= value : before === String(value)) return undefined;
    await writeFile(path, String(value));
    return { isFailure: false, text: `${name} ${before} → ${value}` };
  } catch (error) {
    const stays = before === '' ? '' : ` (it stays ${before})`;
    return { isFailure: true, text: `${name} ${value}${stays}: ${reasonOf(error)}` };
  }
}

async function read(path: string, { load }: SettingsOptions): Promise<string> {
  const text = () => readFile(path, 'utf8');
  const found = await text().catch(async (error: unknown) => {
    if (load === undefined || codeOf(error) !== 'ENOENT') throw error;
    await load();
    return text();
  });
  return found.trim();
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function reasonOf(error: unknown): string {
  switch (codeOf(error)) {
    case 'EROFS':
      return 'it is mounted read-only';
    case 'EACCES':
    case 'EPERM':
      return 'this process may not write it';
    case 'ENOENT':
      return 'this kernel has no such setting';
    case 'ENOTSUP':
    case 'EOPNOTSUPP':
      return "only from the machine's own network namespace";
    default:
      return error instanceof Error ? error.message : String(error);
  }
}
