import { text as readAll } from 'node:stream/consumers';
import { configurationText } from './document-text.ts';
import { parseConfiguration, readConfigurationText } from './load.ts';

export interface CheckCommandOptions {
  /** A path, or `-` for the standard input. */
  readonly file: string;
  /** Show the whole configuration, with defaults filled in, instead of the word `valid`. */
  readonly output?: 'yaml';
}

/** `kproxy-ts config check`: warnings on stderr. @throws ConfigurationError with everything that is wrong */
export async function checkCommand({ file, output }: CheckCommandOptions): Promise<void> {
  const source = file === '-' ? 'standard input' : file;
  const text = file === '-' ? await readAll(process.stdin) : await readConfigurationText(file);
  const { fields, warnings } = parseConfiguration(text, source);
  for (const warning of warnings) process.stderr.write(`${source}: warning: ${warning}\n`);
  process.stdout.write(output === 'yaml' ? configurationText(fields) : `${source}: valid\n`);
}
