// How the programs are bundled, for scripts/build.mjs and for the tests that check that the bundle still works.
import { builtinModules } from 'node:module';
import { fileURLToPath } from 'node:url';

const stub = name => fileURLToPath(new URL(`stubs/${name}`, import.meta.url));

/**
 * Node's own modules are taken by getBuiltinModule instead of by import: an import reads every export, and reading
 * `WebSocket` of node:http loads the HTTP client that is built into Node (12 MB resident) though nobody uses it. A module
 * that imports takes only the names it uses (unused calls of `take` are dropped from the bundle); one that requires takes
 * the thing itself. import() is left alone: it has to give a namespace with every name.
 */
const lazyBuiltins = {
  name: 'lazy-builtins',
  setup(build) {
    const names = new Set(builtinModules.map(name => name.replace(/^node:/, '')));
    build.onResolve({ filter: /^(node:)?[a-z_0-9]+(\/[a-z_0-9]+)*$/ }, ({ path, kind }) => {
      const name = path.replace(/^node:/, '');
      if (!names.has(name)) return undefined;
      if (kind === 'dynamic-import') return { path: `node:${name}`, external: true };
      return { path: `node:${name}`, namespace: kind === 'import-statement' ? 'builtin-import' : 'builtin-require' };
    });
    build.onLoad({ filter: /.*/, namespace: 'builtin-import' }, ({ path }) => ({
      contents: importOf(path),
      loader: 'js',
    }));
    build.onLoad({ filter: /.*/, namespace: 'builtin-require' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
      loader: 'js',
    }));
  },
};

function importOf(path) {
  const exported = Object.keys(process.getBuiltinModule(path)).filter(
    name => /^[A-Za-z_$][\w$]*$/.test(name) && name !== 'default',
  );
  const takes = exported.map((name, i) => `const e${i} = /* @__PURE__ */ take('${name}');`);
  return `
    const builtin = process.getBuiltinModule(${JSON.stringify(path)});
    const take = name => builtin[name];
    export default builtin;
    ${takes.join('\n')}
    export { ${exported.map((name, i) => `e${i} as ${name}`).join(', ')} };`;
}

/**
 * Parts of packages that we never reach, each replaced by a stub whose names are the ones that are imported, and which says
 * so when it is called.
 */
const unreachedParts = {
  name: 'unreached-parts',
  setup(build) {
    // The generated API client (350 kB): only KubeConfig.makeApiClient needs it.
    build.onResolve({ filter: /^\.\/gen\/index\.js$/ }, ({ importer }) =>
      importer.includes('@kubernetes/client-node/dist/') ? { path: stub('client-node-gen.mjs') } : undefined,
    );
    // The HTTP client (700 kB): only fetch and KubeConfig.applySecurityAuthentication need it; we use node:https.
    build.onResolve({ filter: /^undici$/ }, () => ({ path: stub('undici.mjs') }));
    // Metrics of several processes, and pushing them.
    build.onResolve({ filter: /^\.\/lib\/(cluster|pushgateway|defaultMetrics)$/ }, ({ importer }) =>
      importer.includes('prom-client/index.js') ? { path: stub('prom-client-parts.cjs') } : undefined,
    );
  },
};

/** esbuild's options but for entry points and output. netlink and koffi stay in node_modules: they find their native code beside themselves. */
export const bundleOptions = {
  external: ['netlink/*', 'koffi'],
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  outExtension: { '.js': '.mjs' },
  chunkNames: 'chunks/[name]-[hash]',
  minifyWhitespace: true,
  minifySyntax: true,
  sourcemap: 'linked',
  sourcesContent: false,
  logLevel: 'error',
  plugins: [lazyBuiltins, unreachedParts],
  banner: {
    js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
  },
};
