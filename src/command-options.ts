/** Options that several commands have. */
import { Option } from 'commander';

const RUNTIME_DIR = '/run/kproxy-ts';

export function runtimeDirOption(): Option {
  return new Option('--runtime-dir <dir>', 'where the daemon keeps its socket')
    .env('KPROXY_TS_RUNTIME_DIR')
    .default(RUNTIME_DIR);
}
