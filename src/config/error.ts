/** One wrong value: `path` as it stands in the file (`iptables.masqueradeBit`, `nodePortAddresses[1]`, `line 3`), '' for the file. */
export interface ConfigurationProblem {
  readonly path: string;
  readonly message: string;
}

/** A configuration file that can't be used. The message has a line for each problem, each with the file and the field. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
  readonly source: string;
  readonly problems: readonly ConfigurationProblem[];

  constructor(source: string, problems: readonly ConfigurationProblem[], options?: ErrorOptions) {
    super(problems.map(problem => lineOf(source, problem)).join('\n'), options);
    this.source = source;
    this.problems = problems;
  }
}

function lineOf(source: string, { path, message }: ConfigurationProblem): string {
  return path === '' ? `${source}: ${message}` : `${source}: ${path}: ${message}`;
}

/** The path of a field as people write it: keys joined by dots, positions in brackets. */
export function pathText(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${key}]`;
    return text === '' ? String(key) : `${text}.${String(key)}`;
  }, '');
}
