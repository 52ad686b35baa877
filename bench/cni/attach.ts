/**
 * Run in a network namespace of its own: ADD and DEL of kproxy-cni and of the stock plugins by turns, one at a time and many at once. Prints milliseconds as
 * JSON: of each figure the median of ours and of theirs. Arguments: runs, how many at once.
 */
import { join } from 'node:path';
import { median } from '../spine/rows.ts';
import { directory, ours, removeDirectory, startAgent } from './agent.ts';
import { residentAtVersion } from './resident.ts';
import { add, type Chain, call, del, kproxyCni, makePods, STOCK, timed, together } from './runtime.ts';

const runs = Number(process.argv[2] ?? 15);
const many = Number(process.argv[3] ?? 100);
const PORTS = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] };

const theirs = (name: string, more: object, hasPorts = false): Chain => {
  const common = { cniVersion: '1.0.0', name };
  const ipam = { type: 'host-local', dataDir: join(directory, 'stock'), ranges: [[{ subnet: '10.20.0.0/16' }]] };
  const bridge = { ...common, type: 'bridge', bridge: 'theirs0', isDefaultGateway: true, ipam, ...more };
  const portmap = { ...common, type: 'portmap', capabilities: { portMappings: true }, runtimeConfig: PORTS };
  const chain = [{ program: join(STOCK, 'bridge'), config: bridge }];
  return hasPorts ? [...chain, { program: join(STOCK, 'portmap'), config: portmap }] : chain;
};

interface Pair {
  readonly ours: number;
  readonly theirs: number;
}

async function compare(our: Chain, their: Chain): Promise<{ readonly add: Pair; readonly del: Pair }> {
  const times = [our, their].map(chain => ({ chain, adds: [] as number[], dels: [] as number[] }));
  for (let round = 0; round <= runs; round += 1) {
    for (const { chain, adds, dels } of times) {
      const warmUp = round === 0;
      const result = await timed(warmUp ? [] : adds, () => add(chain, 0));
      await timed(warmUp ? [] : dels, () => del(chain, 0, result));
    }
  }
  const [mine, other] = times.map(({ adds, dels }) => [median(adds), median(dels)] as const);
  return { add: { ours: mine![0], theirs: other![0] }, del: { ours: mine![1], theirs: other![1] } };
}

async function versions(): Promise<Pair> {
  const times: Record<'ours' | 'theirs', number[]> = { ours: [], theirs: [] };
  const programs = { ours: kproxyCni, theirs: join(STOCK, 'bridge') };
  const config = { cniVersion: '1.0.0' };
  for (let round = 0; round < runs * 4; round += 1) {
    for (const who of ['ours', 'theirs'] as const)
      await timed(times[who], () => call('VERSION', { program: programs[who], config }, 0));
  }
  return { ours: median(times.ours), theirs: median(times.theirs) };
}

const resident = (program: string) => residentAtVersion(program, join(directory, 'full'));

const agent = await startAgent();
try {
  await using _ = await makePods(many);
  const masq = { ipMasq: true };
  const figures = {
    masq: await compare(ours('m', masq), theirs('m', masq)),
    plain: await compare(ours('p', {}), theirs('p', {})),
    ports: await compare(ours('h', { ...masq, runtimeConfig: PORTS }), theirs('h', masq, true)),
    version: await versions(),
    resident: { ours: await resident(kproxyCni), theirs: await resident(join(STOCK, 'bridge')) },
    oursTogether: await together(ours('t', masq), many),
    theirsTogether: await together(theirs('t', masq), many),
  };
  process.stdout.write(JSON.stringify(figures));
} finally {
  await agent[Symbol.asyncDispose]();
  removeDirectory();
}
