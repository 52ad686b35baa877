import type { ApplyFailure } from './backends/backend.ts';
import type { FamilyBackend } from './backends/family-backend.ts';

import type { SyncReport } from './backends/sync-report.ts';
import { type Model, servicePortText } from './endpoints/types.ts';
import type { SyncHealth } from './http/health-state.ts';
import type { Logger } from './log.ts';
import type { Metrics } from './metrics.ts';
import type { IPFamily } from './watch/objects.ts';

export interface SyncReporterOptions {
  readonly family: IPFamily;
  readonly backend: Pick<FamilyBackend<unknown>, 'mode' | 'describeError' | 'unserved'>;
  readonly health: SyncHealth;
  readonly metrics: Metrics;
  readonly log: Logger;
}

/** Of what the kernel refuses, or of what was repaired, so many are in the log line. */
const SHOWN_KEYS = 5;

/** Tells health, metrics and log what becomes of one family's syncs; each line once until it changes. */
export class SyncReporter {
  readonly #options: SyncReporterOptions;
  #refused = '';
  /** Why the kernel can't be read; undefined when it can. */
  #unread: string | undefined;
  /** Why the last sync failed; undefined when it didn't. */
  #failure: string | undefined;
  readonly #warned = new Map<string, string>();

  constructor(options: SyncReporterOptions) {
    this.#options = options;
  }

  /** A line for each Service port that isn't served as somebody may expect, when that changes. */
  planned(model: Model): void {
    const { log, family, backend } = this.#options;
    for (const key of model.changed) {
      const port = model.routes.get(key)?.servicePort;
      const lines = port === undefined ? [] : [...port.warnings, ...(backend.unserved?.(port) ?? [])];
      const text = lines.join('; ');
      if (text === (this.#warned.get(key) ?? '')) continue;
      if (text === '' || port === undefined) this.#warned.delete(key);
      else {
        this.#warned.set(key, text);
        log.warn({ component: 'backend', family, service: servicePortText(port.name) }, `Service ${key}: ${text}`);
      }
    }
  }

  /** A change waits for a sync. */
  queued(): void {
    const { health, metrics, family } = this.#options;
    health.queued(family);
    metrics.lastQueuedTimestampSeconds.set({ ip_family: family }, Date.now() / 1000);
  }

  /** A sync has finished, whether or not the kernel refused some objects. `model` is what was planned. */
  synced(report: SyncReport, model: Model): void {
    const { health, metrics, log, family } = this.#options;
    const labels = { ip_family: family };
    const seconds = (report.planMs + report.applyMs) / 1000;
    metrics.syncSeconds.observe(labels, seconds);
    (report.isFull ? metrics.syncFullSeconds : metrics.syncPartialSeconds).observe(labels, seconds);
    metrics.fineSyncSeconds.observe(labels, (performance.now() - report.queuedAtMs) / 1000);
    metrics.lastSyncTimestampSeconds.set(labels, Date.now() / 1000);
    metrics.servicePorts.set(labels, model.routes.size);
    this.#countRefused(report);
    // A partial sync that went well says nothing about what was refused before.
    if (report.isFull || report.failures.length > 0) this.#reportRefused(report.failures);
    health.updated(family);
    this.#failure = undefined;
    this.#reportUnread(report.unread?.message);
    this.#reportRepaired(report.repaired);
    const { cause, isFull, changes, planMs, applyMs } = report;
    const fields = { component: 'backend', family, cause, changes, planMs: round(planMs), applyMs: round(applyMs) };
    if (report.failures.length > 0) return;
    // A look for drift comes every sync period; what it repairs is told by itself.
    if (isFull && cause !== 'drift') {
      log.info(fields, changes === 0 ? 'the kernel already had every rule' : 'all rules are programmed');
    } else if (changes > 0) log.debug(fields, 'programmed');
  }

  #countRefused({ failures, isFull }: SyncReport): void {
    const { metrics, family, backend } = this.#options;
    const labels = { ip_family: family };
    switch (backend.mode) {
      case 'iptables':
        metrics.iptablesRestoreFailures.inc(labels, failures.length);
        if (!isFull) metrics.iptablesPartialRestoreFailures.inc(labels, failures.length);
        break;
      case 'nftables':
        metrics.nftablesSyncFailures.inc(labels, failures.length > 0 ? 1 : 0);
        break;
    }
  }

  /** A line when it begins, and one when it is over. */
  #reportUnread(reason: string | undefined): void {
    if (reason === this.#unread) return;
    this.#unread = reason;
    const fields = { component: 'backend', family: this.#options.family };
    if (reason === undefined) this.#options.log.info(fields, 'our rules can be read again');
    else
      this.#options.log.warn(
        fields,
        `our rules cannot be read: ${reason}; changes reach the kernel, drift is not seen`,
      );
  }

  #reportRepaired(keys: readonly string[]): void {
    if (keys.length === 0) return;
    const { log, family } = this.#options;
    const what = keys.length === 1 ? 'one of our rules or chains was' : `${keys.length} of our rules or chains were`;
    const fields = { component: 'backend', family, repaired: keys.slice(0, SHOWN_KEYS) };
    log.warn(fields, `${what} changed by somebody else: repaired`);
  }

  /** One line when what the kernel refuses changes; it is tried again with growing waits all the while. */
  #reportRefused(failures: readonly ApplyFailure[]): void {
    const { log, family } = this.#options;
    const lines = failures.map(({ key, error }) => `${key}: ${error.message}`);
    const refused = lines.join('\n');
    if (refused === this.#refused) return;
    this.#refused = refused;
    if (lines.length === 0) return;
    const more = lines.length > 1 ? ` and ${lines.length - 1} more` : '';
    const fields = { component: 'backend', family, refused: lines.slice(0, SHOWN_KEYS) };
    log.error(fields, `the kernel refused ${failures[0]?.key}${more}; the rest of what changed is programmed`);
  }

  /** A whole sync failed and will be tried again in `retryMs`. One line until the reason changes. */
  failed(error: unknown, retryMs: number): void {
    const { health, metrics, log, family, backend } = this.#options;
    metrics.syncFailures.inc({ ip_family: family });
    if (backend.mode === 'nftables') metrics.nftablesSyncFailures.inc({ ip_family: family });
    const reason = backend.describeError?.(error) ?? messageOf(error);
    health.failed(family, reason);
    const fields = { component: 'backend', family, err: error, retryMs };
    const line = `rules could not be programmed; they stay as they were: ${reason}`;
    if (reason === this.#failure) log.debug(fields, line);
    else log.error(fields, line);
    this.#failure = reason;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function round(ms: number): number {
  return Math.round(ms * 10) / 10;
}
