/** our-share.ts SERVICES: what an endpoint replaced costs this process, with a kernel that takes no time: from the event to the acknowledged commit. */
import type { NftKernel } from '../../src/linux/nf-tables.ts';
import { ENDPOINTS, endpointsOf } from '../spine/cluster.ts';
import { startFamily } from './family.ts';
import { quantiles } from './quantiles.ts';

const TRIALS = 1000;
/** Until V8 has compiled what is measured. */
const WARM_UP = 300;
const services = Number(process.argv[2] ?? 500);

const kernel: NftKernel = {
  batchBytes: 4_194_304,
  commit: async () => [],
  dump: async () => [],
  close: () => undefined,
};
await using family = await startFamily(services, { kernel });
const times: number[] = [];
for (let trial = 0; trial < TRIALS + WARM_UP; trial += 1) {
  const i = (trial * 7) % services;
  const addresses = [...endpointsOf(i).slice(0, ENDPOINTS - 1), `10.64.${trial >> 8}.${trial & 255}`];
  const ms = await family.change(i, addresses);
  if (trial >= WARM_UP) times.push(ms);
  // Longer than events of a burst are waited for.
  await new Promise(resolve => setTimeout(resolve, 4));
}
process.stdout.write(JSON.stringify(quantiles(times)));
