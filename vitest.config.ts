import { defineConfig } from 'vitest/config';

// unit and conformance need nothing; integration needs root and makes its own network namespaces.
const project = (name: string, extra: object = {}) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    pool: 'forks' as const,
    // For what happens at once on a machine that does nothing else.
    testTimeout: 20_000,
    expect: { poll: { timeout: 10_000 } },
    ...extra,
  },
});

export default defineConfig({
  test: {
    reporters: ['default', './test/plain-reporter.ts'],
    projects: [
      // No test of these keeps anything in a module: processes that serve many files start once.
      project('unit', { isolate: false }),
      project('conformance', { isolate: false }),
      project('integration', { testTimeout: 60_000, hookTimeout: 60_000, fileParallelism: false }),
    ],
  },
});
