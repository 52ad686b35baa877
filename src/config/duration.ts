/** Milliseconds of each unit of Go's time.ParseDuration, which reads metav1.Duration. */
const MS_PER_UNIT: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
const WHOLE = /^[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/;
const PARTS = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g;

/**
 * Milliseconds of a metav1.Duration text (`30s`, `1m30s`, `0s`, `-5s`), undefined when the text isn't one.
 * Source: https://pkg.go.dev/time#ParseDuration; a unit is required for everything but `0`.
 */
export function parseDurationMs(text: string): number | undefined {
  if (/^[-+]?0$/.test(text)) return 0;
  if (!WHOLE.test(text)) return undefined;
  let ms = 0;
  for (const [, amount, unit] of text.matchAll(PARTS)) ms += Number(amount) * (MS_PER_UNIT[unit ?? ''] ?? 0);
  return text.startsWith('-') ? -ms : ms;
}

/** Milliseconds as Go writes a duration (`1m0s`, `24h0m0s`, `250ms`, `1.5s`), which is how kube-proxy shows its configuration. */
export function durationText(ms: number): string {
  if (ms === 0) return '0s';
  if (ms < 0) return `-${durationText(-ms)}`;
  if (ms < 1) return ms < 1e-3 ? `${round(ms * 1e6)}ns` : `${round(ms * 1e3)}µs`;
  if (ms < 1000) return `${round(ms)}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = `${round((ms % 60_000) / 1000)}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

/** Without what floating point adds; nanoseconds of a second are kept. */
function round(value: number): number {
  return Number(value.toFixed(9));
}
