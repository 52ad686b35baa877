/**
 * nftables-dump-main.ts: run in a network namespace of its own by nftables-dump.test.ts. Programs all kinds of Services in both families, and prints
 * what nft lists, what a dump's texts say of the same, and what `dump` shows.
 */

import { diff } from '../../src/backends/diff.ts';
import { createNftablesBackend } from '../../src/backends/nftables/backend.ts';
import { nftablesDump } from '../../src/backends/nftables/dump-format.ts';
import { planAll } from '../../src/backends/route-changes.ts';
import { dumpCommand } from '../../src/dump/command.ts';
import { run } from '../../src/linux/exec.ts';
import { NftSocket } from '../../src/linux/nf-tables.ts';
import { manyRoutes } from '../fakes/many-services.ts';
import { NFTABLES_OPTIONS, NFTABLES_OPTIONS_V6 } from '../fakes/objects.ts';

/** `kproxy-ts dump` where no daemon runs. */
async function dump(services: readonly string[], output: 'table' | 'json'): Promise<string> {
  const written: string[] = [];
  const write = (text: string) => void written.push(text);
  const ports = { write, complain: write, hasColours: false };
  await dumpCommand({ services, output, runtimeDir: '/nonexistent' }, ports);
  return written.join('');
}

const told: Record<string, unknown> = {};
for (const options of [NFTABLES_OPTIONS, NFTABLES_OPTIONS_V6]) {
  const { family } = options;
  const backend = createNftablesBackend(() => options, { family, kernel: new NftSocket() });
  const { failures } = await backend.apply(diff(new Map(), planAll(backend, manyRoutes(family))), new Map());
  const { stdout } = await run('nft', ['list', 'table', family === 'IPv4' ? 'ip' : 'ip6', 'kproxy-ts']);
  const { textsOf } = nftablesDump(family);
  const texts = [...(await backend.read()).values()].flatMap(object => textsOf(object));
  told[family] = { failures: failures.map(({ key, error }) => `${key}: ${error.message}`), listed: stdout, texts };
  await backend.close({ cleanup: false });
}
const shown = { table: await dump([], 'table'), web: await dump(['web'], 'table'), json: await dump(['dns'], 'json') };
await run('nft', ['flush', 'chain', 'ip', 'kproxy-ts', 'nat-output']);
process.stdout.write(JSON.stringify({ ...told, ...shown, flushed: await dump([], 'table') }));
