/** raw-load.ts FILE: times `nft -f` of a ruleset on an empty kernel. */
import { run } from '../../src/linux/exec.ts';

const [file = ''] = process.argv.slice(2);
const startedAt = performance.now();
await run('nft', ['-f', file], { timeoutMs: 300_000 });
process.stdout.write(JSON.stringify({ ms: performance.now() - startedAt }));
