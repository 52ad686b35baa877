import { defineConfig } from 'vitest/config';

/** Tests whose traffic may lose nothing, or that kill at a moment: beside others they would measure those. */
const ALONE = [
  'dns-moving',
  'dns-served',
  'faults-api',
  'faults-node',
  'faults-reload',
  'hand-over',
  'kill',
  'mode-switch',
  'nft-storm',
  'random-changes',
  'restart',
  'take-over',
  'take-over-care',
  'tour',
  'traffic',
].map(name => `test/integration/${name}.test.ts`);

const project = (name: string, extra: object) => ({
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

/** One group after the other. */
const inGroup = (groupOrder: number) => ({ sequence: { groupOrder } });

// unit and conformance need nothing; the others need root and make their own network namespaces.
const PATIENT = { testTimeout: 60_000, hookTimeout: 60_000 };

export default defineConfig({
  test: {
    reporters: ['default', './test/plain-reporter.ts'],
    projects: [
      // No test of these keeps anything in a module: processes that serve many files start once.
      project('unit', { isolate: false, ...inGroup(0) }),
      project('conformance', { isolate: false, ...inGroup(0) }),
      project('integration', { exclude: ALONE, maxWorkers: 2, ...PATIENT, ...inGroup(1) }),
      project('integration-alone', { include: ALONE, fileParallelism: false, ...PATIENT, ...inGroup(2) }),
    ],
  },
});
