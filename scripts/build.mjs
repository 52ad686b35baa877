// Bundles the programs into dist/: few files start faster and stay smaller in memory than the packages unbundled. What only
// one command needs is in a chunk of its own, loaded when that command runs.
import { readdir, rm } from 'node:fs/promises';
import { build } from 'esbuild';
import { bundleOptions } from './bundle.mjs';

const { metafile } = await build({
  ...bundleOptions,
  entryPoints: {
    'kproxy-ts': 'src/main.ts',
    'cni-agent': 'src/cni/agent/main.ts',
    'dns-worker': 'src/dns/worker/main.ts',
    'lab-pod': 'src/lab/pod-main.ts',
    'lab-control': 'src/lab/control-main.ts',
  },
  outdir: 'dist',
  metafile: true,
});

// Chunks of earlier builds, whose names have another hash.
const kept = new Set(Object.keys(metafile.outputs));
for (const name of await readdir('dist/chunks').catch(() => [])) {
  if (!kept.has(`dist/chunks/${name}`)) await rm(`dist/chunks/${name}`);
}
