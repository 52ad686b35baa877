/** npm run conformance -- [dns] [--vectors DIR] [--backend NAME] [--packets]; see docs/conformance.md. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { deleteNamespaces, listNamespaces, obstacle } from '../../../src/lab/netns.ts';
import { backendNamed } from './backends.ts';
import { namespacePrefix } from './packets/network.ts';
import { type Result, reportLines } from './result.ts';
import { runTraced } from './run-traced.ts';
import { type FlowRunner, runFile } from './schemas.ts';
import { messageOf, readVectors, VectorError } from './vector-files.ts';

const OWN_VECTORS = fileURLToPath(new URL('../vectors', import.meta.url));
const USAGE = 'usage: npm run conformance -- [dns] [--vectors DIR] [--backend NAME] [--packets]';

/** The exit status: 0 when nothing failed, 1 when something did, 2 when it couldn't be run. */
async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      vectors: { type: 'string', default: OWN_VECTORS },
      backend: { type: 'string', default: 'iptables' },
      packets: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    return 0;
  }
  const name = values.backend;
  const entry = backendNamed(name);
  const [what = 'services', ...rest] = positionals;
  if (rest.length > 0 || (what !== 'services' && what !== 'dns')) throw new RangeError(USAGE);
  // npm runs us in the project's directory; a relative DIR is meant from where the user is.
  const files = await readVectors(resolve(process.env.INIT_CWD ?? process.cwd(), values.vectors));
  const results: Result[] = [];
  if (what === 'dns') results.push(...(await (await import('./dns/run-dns.ts')).runDns(files)));
  else {
    const runFlows = await flowRunner(name, values.packets);
    for (const file of files) results.push(...(await runFile(file, { name, entry, runFlows })));
  }
  if (results.length === 0) throw new VectorError(`no case was found in ${values.vectors}`);
  for (const line of reportLines(results)) console.log(line);
  return results.some(({ status }) => status === 'failed') ? 1 : 0;
}

async function flowRunner(name: string, packets: boolean): Promise<FlowRunner> {
  const entry = backendNamed(name);
  if (!packets) return async list => (await Promise.all(list.map(flow => runTraced(flow, name, entry)))).flat();
  const lacking = await obstacle();
  if (lacking !== '') throw new RangeError(`--packets ${lacking}`);
  cleanUpOnSignals();
  const { runPackets } = await import('./packets/run-packets.ts');
  return flows => runPackets(flows, { backend: name });
}

/** Namespaces outlive whoever made them; those of a run that is interrupted go with it. */
function cleanUpOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      void listNamespaces(namespacePrefix())
        .then(deleteNamespaces)
        .finally(() => process.exit(1));
    });
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`conformance: ${messageOf(error)}`);
  process.exitCode = 2;
}
