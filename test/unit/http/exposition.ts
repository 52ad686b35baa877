/** What promtool would say of a text in Prometheus' exposition format 0.0.4: one line a problem. */
export function findExpositionProblems(text: string): string[] {
  const problems: string[] = text.endsWith('\n') ? [] : ['the last line is not ended'];
  const types = new Map<string, string>();
  const helps = new Set<string>();
  const samples = new Map<string, Sample[]>();
  const series = new Set<string>();
  for (const line of text.split('\n').filter(part => part !== '')) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)$/.exec(line);
    if (comment !== null) {
      const [, what, name = '', rest = ''] = comment;
      if (what === 'HELP' ? helps.has(name) : types.has(name)) problems.push(`${name}: a second ${what}`);
      if (what === 'HELP') helps.add(name);
      else types.set(name, rest);
      continue;
    }
    const sample = parseSample(line);
    if (sample === undefined) {
      problems.push(`not understood: ${line}`);
      continue;
    }
    const id = `${sample.name}${JSON.stringify(Object.entries(sample.labels).toSorted())}`;
    if (series.has(id)) problems.push(`twice: ${line}`);
    series.add(id);
    const family = familyOf(sample.name, types);
    if (family === undefined) problems.push(`without a TYPE before it: ${line}`);
    else samples.set(family, [...(samples.get(family) ?? []), sample]);
  }
  for (const [name, type] of types) {
    if (!helps.has(name)) problems.push(`${name}: no HELP`);
    if (type === 'counter' && !name.endsWith('_total')) problems.push(`${name}: a counter whose name ends otherwise`);
    if (type === 'histogram') problems.push(...findHistogramProblems(name, samples.get(name) ?? []));
  }
  return problems;
}

interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LABEL = String.raw`[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\n"])*"`;
const SAMPLE = new RegExp(String.raw`^([a-zA-Z_:][\w:]*)(?:\{((?:${LABEL})(?:,${LABEL})*)\})? (\S+)$`);

function parseSample(line: string): Sample | undefined {
  const [, name, labels = '', value = ''] = SAMPLE.exec(line) ?? [];
  if (name === undefined || value.trim() === '' || Number.isNaN(Number(value))) return undefined;
  const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, key = '', text = '']) => [key, text]);
  return { name, labels: Object.fromEntries(pairs), value: Number(value) };
}

function familyOf(name: string, types: ReadonlyMap<string, string>): string | undefined {
  if (types.has(name)) return name;
  const base = name.replace(/_(bucket|sum|count)$/, '');
  return types.get(base) === 'histogram' ? base : undefined;
}

function findHistogramProblems(name: string, samples: readonly Sample[]): string[] {
  const groups = Map.groupBy(samples, ({ labels: { le: _, ...others } }) => JSON.stringify(others));
  return [...groups].flatMap(([labels, group]) => {
    const buckets = group.filter(sample => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels: { le = '' } }) => (le === '+Inf' ? Infinity : Number(le)));
    const counts = buckets.map(({ value }) => value);
    const count = group.find(sample => sample.name === `${name}_count`)?.value;
    const where = `${name} ${labels}`;
    const problems = [];
    if (!isAscending(bounds) || bounds.at(-1) !== Infinity) problems.push(`${where}: bounds ${bounds.join(', ')}`);
    if (!isAscending(counts) || counts.at(-1) !== count)
      problems.push(`${where}: counts ${counts.join(', ')} of ${count}`);
    if (!group.some(sample => sample.name === `${name}_sum`)) problems.push(`${where}: no sum`);
    return problems;
  });
}

function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((number, i) => i === 0 || number >= (numbers[i - 1] ?? 0));
}
