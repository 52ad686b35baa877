import type { Fields } from '../vector-files.ts';

/** The list of cases of a group. @throws TypeError when it has none */
export function casesOf<T>(group: Fields, field = 'cases'): readonly T[] {
  const list = group[field];
  if (!Array.isArray(list) || list.length === 0) throw new TypeError(`the group has no ${field}`);
  return list as T[];
}
