/** The group proxyHealth: a script of what happens to the proxy, and what /healthz and /livez say after each line. */
import { healthRoutes } from '../../../../src/http/health.ts';
import { SyncHealth } from '../../../../src/http/health-state.ts';
import type { Reply } from '../../../../src/http/routes.ts';
import type { IPFamily } from '../../../../src/net/ip.ts';
import { trimNode } from '../../../../src/watch/trim-cluster.ts';
import { compared, type Result } from '../result.ts';
import type { Fields } from '../vector-files.ts';
import { casesOf } from './cases.ts';

interface Line {
  readonly do: string;
  readonly healthz: number;
  readonly livez: number;
  readonly status?: Readonly<Record<string, boolean>>;
  readonly nodeEligible?: boolean;
}

const START_MS = Date.parse('2026-01-01T00:00:00Z');

/** A proxy on a manual clock, and the last time it was updated. */
class Stage {
  readonly #families: readonly IPFamily[];
  readonly #health: SyncHealth;
  readonly #routes: ReturnType<typeof healthRoutes>;
  #nowMs = START_MS;
  #updatedMs = START_MS;

  constructor(families: readonly IPFamily[], timeoutSeconds: number) {
    this.#families = families;
    const now = () => this.#nowMs;
    // What is queued may wait for two sync periods.
    const syncPeriodMs = () => (timeoutSeconds * 1000) / 2;
    const source = () => ({ awaited: [], lastContactMs: undefined });
    this.#health = new SyncHealth({ families, syncPeriodMs, source, now });
    this.#routes = healthRoutes({ state: this.#health, now });
  }

  get nowText(): string {
    return new Date(this.#nowMs).toISOString();
  }

  get updatedText(): string {
    return new Date(this.#updatedMs).toISOString();
  }

  async ask(path: '/healthz' | '/livez'): Promise<Reply> {
    const route = this.#routes[path];
    if (route === undefined) throw new TypeError(`there is no ${path}`);
    return route('');
  }

  /** Carries out one line, a part after the other. @throws TypeError for words that it doesn't know */
  play(line: string): void {
    for (const part of line.split(',').map(text => text.trim())) this.#playPart(part);
  }

  #playPart(part: string): void {
    const [, verb = '', rest = ''] = /^(start|updated|queue|advance|node)\b *(.*)$/.exec(part) ?? [];
    if (verb === 'start') return;
    if (verb === 'updated') {
      this.#update(this.#named(rest));
      return;
    }
    if (verb === 'queue') {
      for (const family of this.#named(rest)) this.#health.queued(family);
      return;
    }
    const seconds = /^(\d+)s\b/.exec(rest)?.[1];
    if (verb === 'advance' && seconds !== undefined) this.#nowMs += Number(seconds) * 1000;
    else if (verb === 'node') this.#changeNode(rest);
    else throw new TypeError(`cannot play '${part}'`);
  }

  #update(families: readonly IPFamily[]): void {
    for (const family of families) this.#health.updated(family);
    this.#updatedMs = this.#nowMs;
  }

  #named(text: string): readonly IPFamily[] {
    if (text === 'both' || text === 'all') return this.#families;
    return text.split('+').map(name => {
      const family = this.#families.find(known => known === name);
      if (family === undefined) throw new TypeError(`no family ${name}`);
      return family;
    });
  }

  #changeNode(what: string): void {
    const taint = /^gets (?:an unrelated taint|taint (\S+))$/.exec(what);
    const isDeleted = /deletionTimestamp/.test(what);
    if (taint === null && !isDeleted && what !== 'taint removed') throw new TypeError(`cannot play 'node ${what}'`);
    const taints = taint === null ? [] : [{ key: taint[1] ?? 'example.com/unrelated', effect: 'NoSchedule' }];
    const metadata = { name: 'node', ...(isDeleted ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}) };
    this.#health.sawNode(trimNode({ metadata, spec: { taints } }).object);
  }
}

export async function playProxyHealth(group: Fields): Promise<Result[]> {
  const families = casesOf<IPFamily>(group, 'families');
  const stage = new Stage(families, Number(group.healthTimeoutSeconds));
  const results: Result[] = [];
  for (const line of casesOf<Line>(group, 'script')) {
    stage.play(line.do);
    for (const path of ['/healthz', '/livez'] as const) {
      const { status, body } = await stage.ask(path);
      const seen = JSON.parse(body) as Fields;
      const name = `${line.do}: ${path}`;
      results.push(compared(name, wanted(line, path, stage), { code: status, ...picked(seen, line, path) }));
    }
  }
  return results;
}

function wanted(line: Line, path: '/healthz' | '/livez', stage: Stage): Fields {
  const code = path === '/healthz' ? line.healthz : line.livez;
  return {
    code,
    currentTime: stage.nowText,
    lastUpdated: code === 200 ? stage.nowText : stage.updatedText,
    ...(line.status === undefined ? {} : { status: line.status }),
    ...(line.nodeEligible === undefined || path === '/livez' ? {} : { nodeEligible: line.nodeEligible }),
  };
}

/** Of the answer, what the line speaks of. */
function picked(body: Fields, line: Line, path: '/healthz' | '/livez'): Fields {
  const status = Object.entries((body.status ?? {}) as Record<string, { healthy: boolean }>);
  return {
    currentTime: body.currentTime,
    lastUpdated: body.lastUpdated,
    ...(line.status === undefined
      ? {}
      : { status: Object.fromEntries(status.map(([name, { healthy }]) => [name, healthy])) }),
    ...(line.nodeEligible === undefined || path === '/livez' ? {} : { nodeEligible: body.nodeEligible }),
  };
}
