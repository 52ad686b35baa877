/**
 * The same text as a string of its own, shared with every equal string that went through here.
 *
 * V8 represents a substring of 13 or more characters as a view that keeps the whole parent alive, and a concatenation as
 * a tree. One node name cut out of a file or a list page would hold all of it. A property key is flat and lives once in
 * V8's string table, which holds it weakly: so 50 000 endpoints on 100 nodes hold 100 node names, and nothing leaks. The
 * prototype-less object is a dictionary from the start; a literal would leave a hidden class per key behind.
 */
export function ownText(text: string): string {
  const table: Record<string, true> = Object.create(null);
  table[text] = true;
  for (const key in table) return key;
  return text;
}
