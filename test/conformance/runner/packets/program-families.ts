/** The product's own families over the real kernel, in this process's network namespace. */
import { readdir, writeFile } from 'node:fs/promises';
import type { FamilyBackend } from '../../../../src/backends/family-backend.ts';
import { createIptablesFamily } from '../../../../src/backends/iptables/family.ts';
import { hasLocalhostNodePorts } from '../../../../src/backends/iptables/options.ts';
import { createNftablesFamily } from '../../../../src/backends/nftables/family.ts';
import { normalise } from '../../../../src/backends/nftables/normalise.ts';
import type { NftObject } from '../../../../src/backends/nftables/objects.ts';
import type { Configuration } from '../../../../src/config/configuration.ts';
import { localnetSysctl } from '../../../../src/conntrack/settings.ts';
import { FamilyProxy } from '../../../../src/family-proxy.ts';
import { SyncHealth } from '../../../../src/http/health-state.ts';
import { run } from '../../../../src/linux/exec.ts';
import { NftSocket } from '../../../../src/linux/nf-tables.ts';
import { settingsWriter } from '../../../../src/linux/sysctl.ts';
import { createLogger, type Logger } from '../../../../src/log.ts';
import { createMetrics } from '../../../../src/metrics.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';
import type { Program, ProgramOptions } from './program.ts';

/** Tells when something was programmed or couldn't be. */
class WatchedHealth extends SyncHealth {
  #changed = Promise.withResolvers<void>();

  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  override updated(family: IPFamily): void {
    super.updated(family);
    this.#wake();
  }

  override failed(family: IPFamily, reason: string): void {
    super.failed(family, reason);
    this.#wake();
  }

  #wake(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve();
  }
}

interface Way {
  /** A family of the mode over the real kernel. */
  readonly newBackend: (family: IPFamily, log: Logger) => FamilyBackend<unknown>;
  readonly contents: (plan: ReadonlyMap<string, unknown>) => readonly string[];
  readonly forgetClients: () => Promise<void>;
}

export function startIptables(options: ProgramOptions): Promise<Program> {
  return start(options, {
    newBackend: (family, log) => createIptablesFamily({ family, variant: 'nft', log }) as FamilyBackend<unknown>,
    contents: plan => [...plan].map(([key, object]) => `${key} ${JSON.stringify(object)}`),
    forgetClients: emptyLists,
  });
}

export function startNftables(options: ProgramOptions): Promise<Program> {
  return start(options, {
    newBackend: family => createNftablesFamily({ family, kernel: new NftSocket() }) as FamilyBackend<unknown>,
    contents: plan => normalise(plan as ReadonlyMap<string, NftObject>),
    forgetClients: emptyMaps,
  });
}

async function start(options: ProgramOptions, way: Way): Promise<Program> {
  const { families, configuration, nodeName, store } = options;
  const errors: string[] = [];
  const log = createLogger({ level: 'error', destination: { write: line => void errors.push(line.trim()) } });
  const { syncPeriodMs } = configuration.iptables;
  const source = () => ({ awaited: [], lastContactMs: undefined });
  const health = new WatchedHealth({ families, syncPeriodMs: () => syncPeriodMs, source, now: Date.now });
  await makeSettings(configuration, log);
  const common = { configuration, nodeName, store, health, log, metrics: createMetrics('0.0.0') };
  const proxies = families.map(
    family =>
      new FamilyProxy({
        ...common,
        family,
        backend: way.newBackend(family, log),
        compactHeap: () => undefined,
      }),
  );
  store.onDirty(dirty => {
    for (const proxy of proxies) proxy.note(dirty);
  });
  for (const proxy of proxies) proxy.start();
  return {
    settled: async () => {
      for (;;) {
        const [error] = errors;
        if (error !== undefined) throw new Error(error);
        const states = [...health.families().values()];
        if (states.every(state => state.lastUpdatedMs !== undefined && state.pendingSinceMs === undefined)) return;
        await health.changed;
      }
    },
    contents: async () => {
      const plans = await Promise.all(proxies.map(proxy => proxy.backend.read()));
      return plans.flatMap(way.contents).toSorted();
    },
    forgetClients: way.forgetClients,
    close: async () => {
      await Promise.all(proxies.map(proxy => proxy.close()));
    },
  };
}

const ROUTE_LOCALNET = '/proc/sys/net/ipv4/conf/all/route_localnet';

/** What the daemon makes of the kernel's settings for this configuration, after those of the case before; conntrack's are the machine's. */
async function makeSettings(configuration: Configuration, log: Logger): Promise<void> {
  await writeFile(ROUTE_LOCALNET, '0');
  const write = settingsWriter({ log });
  await write(localnetSysctl(hasLocalhostNodePorts(configuration)));
}

const LISTS = '/proc/net/xt_recent';

/** xt_recent(8): a slash empties a list. */
async function emptyLists(): Promise<void> {
  const names = await readdir(LISTS);
  await Promise.all(names.map(name => writeFile(`${LISTS}/${name}`, '/')));
}

/** The maps of session affinity, of both families. */
async function emptyMaps(): Promise<void> {
  for (const family of ['ip', 'ip6']) {
    const { stdout } = await run('nft', ['-j', 'list', 'maps', family]);
    const { nftables } = JSON.parse(stdout) as { nftables: { map?: { name: string } }[] };
    const names = nftables.flatMap(({ map }) => (map?.name.startsWith('affinity-') ? [map.name] : []));
    for (const name of names) await run('nft', ['flush', 'map', family, 'kproxy-ts', name]);
  }
}
