// Bundles the programs into dist/: one file starts faster and stays smaller in memory than the packages unbundled.
import { build } from 'esbuild';

await build({
  entryPoints: {
    'kproxy-ts': 'src/main.ts',
    'lab-pod': 'src/lab/pod-main.ts',
  },
  outdir: 'dist',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: 'linked',
  sourcesContent: false,
  logLevel: 'error',
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
});
