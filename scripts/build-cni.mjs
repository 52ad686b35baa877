// Builds the CNI plugin: TypeScript -> one script (esbuild) -> bytecode (qjsc) -> with QuickJS and our C in one static program (musl), which
// runs on every Linux, starts like a small C program, and needs nothing beside it. What has not changed is not built again.
//   node scripts/build-cni.mjs [ENTRY [OUT]]
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const entry = resolve(process.argv[2] ?? join(root, 'src/cni/plugin/main.ts'));
const out = resolve(process.argv[3] ?? join(root, 'dist/kproxy-cni'));
const stampFile = `${out}.stamp`;

const native = join(root, 'src/cni/plugin/native');
const quickjs = join(root, 'node_modules/@suchipi/quickjs');
const architecture = { x64: 'x86_64', arm64: 'aarch64' }[process.arch];
if (architecture === undefined) fail(`there is no QuickJS for ${process.arch} in the npm package`);
const engine = join(quickjs, `build/${architecture}-unknown-linux-musl`);
const compilerFlags = ['-static', '-O2', '-s', '-std=gnu11', '-Wall', '-Wextra'];

const sources = readdirSync(native)
  .filter(name => /\.[ch]$/.test(name))
  .sort()
  .map(name => join(native, name));
try {
  const script = await bundled();
  const stamp = stampOf(script);
  if (read(stampFile) !== stamp || read(out) === undefined) compile(script, stamp);
} catch (error) {
  fail(error.message);
}

function fail(message) {
  console.error(`build-cni: ${message}`);
  process.exit(1);
}

/** undefined: there is none. */
function read(file) {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** QuickJS knows all that we use of the language. */
async function bundled() {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: 'iife',
    platform: 'neutral',
    target: 'es2023',
    legalComments: 'none',
    logLevel: 'silent',
  });
  return outputFiles[0].text;
}

/** Of everything that the program is made of. */
function stampOf(script) {
  const hash = createHash('sha256');
  const parts = [script, process.arch, compilerFlags.join(' '), ...sources.map(read)];
  for (const part of [...parts, read(join(quickjs, 'package.json')) ?? fail('there is no QuickJS: run npm install')]) {
    hash.update(part).update('\0');
  }
  return hash.digest('hex');
}

/** A plugin that is running keeps its file; the next one to be started is the new one. */
function compile(script, stamp) {
  mkdirSync(dirname(out), { recursive: true });
  const work = mkdtempSync(join(dirname(out), '.kproxy-cni-'));
  try {
    writeFileSync(join(work, 'plugin.js'), script);
    const bytecode = join(work, 'bytecode.c');
    tool(join(engine, 'bin/qjsc'), ['-c', '-N', 'plugin_bytecode', '-o', bytecode, 'plugin.js'], work);
    const files = [...sources.filter(name => name.endsWith('.c')), bytecode];
    const link = [join(engine, 'lib/quickjs-core.a'), '-lm', '-lpthread'];
    tool(
      'musl-gcc',
      [...compilerFlags, '-isystem', join(engine, 'include'), ...files, ...link, '-o', 'kproxy-cni'],
      work,
    );
    rmSync(stampFile, { force: true });
    renameSync(join(work, 'kproxy-cni'), out);
    writeFileSync(stampFile, stamp);
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** Both need Debian's musl-tools: qjsc is linked with musl. */
function tool(program, args, cwd) {
  try {
    execFileSync(program, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    throw new Error(`${program} can't be run; is musl-tools installed?`, { cause: error });
  }
}
