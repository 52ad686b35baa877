/** one-change.ts SERVICES: how long it takes from a change in the store, as a watch event makes it, until its name is answered anew. Milliseconds. */

import { parseConfiguration } from '../../src/config/load.ts';
import { NodeDns } from '../../src/dns/host/node-dns.ts';
import { run } from '../../src/linux/exec.ts';
import { createLogger } from '../../src/log.ts';
import { Store } from '../../src/watch/store.ts';
import { ask } from '../../test/conformance/runner/dns/ask.ts';
import { quantiles } from '../nftables/quantiles.ts';
import { clusterOf, keyOf } from '../spine/cluster.ts';
import { DNS_PORT } from '../spine/daemon.ts';
import { serviceName } from './cluster-names.ts';

const CHANGES = 200;
const PATIENCE_MS = 5000;

const services = Number(process.argv[2] ?? 5000);
await run('ip', ['link', 'set', 'lo', 'up']);
const store = new Store();
store.announce(['Service']);
const cluster = clusterOf(services);
for (const service of cluster.services.values()) store.upsert('Service', service);
for (const slices of cluster.slices.values()) for (const slice of slices.values()) store.upsert('EndpointSlice', slice);
store.markSynced('Service');
store.markSynced('Namespace');
const document = { apiVersion: 'kproxy-ts.dev/v1alpha1', kind: 'NodeConfiguration' };
const dnsFields = { enabled: true, listen: [`127.0.0.1:${DNS_PORT}`], service: '', upstreams: [] };
const { configuration } = parseConfiguration(JSON.stringify({ ...document, dns: dnsFields }), 'the bench');
const log = createLogger({ level: 'fatal' });
await using dns = new NodeDns({ store, nodeName: 'node-0', configuration, log, networks: () => [] });
store.onDirty(dirty => dns.note(dirty));
await dns.configure(configuration);
await dns.complete;
const took: number[] = [];
for (let change = 1; change <= CHANGES; change += 1) took.push(await oneChange(change));
process.stdout.write(JSON.stringify(quantiles(took)));

/** Service `change` gets another address. */
async function oneChange(change: number): Promise<number> {
  const { namespace, name } = keyOf(change);
  const before = store.snapshot.services.get(`${namespace}/${name}`);
  if (before === undefined) throw new Error(`there is no Service ${namespace}/${name}`);
  const address = `10.97.1.${change}`;
  const startedAt = performance.now();
  store.upsert('Service', { ...before, clusterIPs: [address] });
  for (const end = startedAt + PATIENCE_MS; performance.now() < end; ) {
    const { answers } = await ask({ qname: serviceName(change), qtype: 'A', rcode: '' }, 'udp', {
      address: '127.0.0.1',
      port: DNS_PORT,
    });
    if (answers.some(({ data }) => data === address)) return performance.now() - startedAt;
  }
  throw new Error(`${serviceName(change)} isn't answered with ${address}`);
}
