/** Where this project's own programs are, from the sources as well as from the bundle. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const self = fileURLToPath(import.meta.url);
const runsFromSource = self.endsWith('.ts');

/** The project's directory: the nearest one above this file with a package.json. */
export const projectDir = findProject(dirname(self));

function findProject(directory: string): string {
  if (existsSync(join(directory, 'package.json')) || directory === dirname(directory)) return directory;
  return findProject(dirname(directory));
}

/** The Node that the project brings. */
export const nodeProgram = join(projectDir, 'node_modules/node/bin/node');

/** The launcher of the product, which runs the bundle. */
export const kproxyProgram = join(projectDir, 'bin/kproxy-ts');

/** The command of one of the lab's own small programs. A young generation of 1 MB keeps the many of them small. */
export function labProgram(name: 'pod' | 'control'): [string, ...string[]] {
  const file = runsFromSource ? join(projectDir, `src/lab/${name}-main.ts`) : join(projectDir, `dist/lab-${name}.mjs`);
  return [nodeProgram, '--max-semi-space-size=1', file];
}
