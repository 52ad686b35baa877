/** at-once.ts RUNTIME_DIR COUNT: a runtime beside the daemon. For each line of its input COUNT pods get their network and lose it; answers with the milliseconds of both. */
import { createInterface } from 'node:readline';
import { ours } from './agent.ts';
import { makePods, together } from './runtime.ts';

const [runtimeDir = '', count = '100'] = process.argv.slice(2);
await using _ = await makePods(Number(count));
const chain = ours('many', { ipMasq: true }, runtimeDir);
process.stdout.write('ready\n');
for await (const _line of createInterface(process.stdin)) {
  process.stdout.write(`${JSON.stringify(await together(chain, Number(count)))}\n`);
}
