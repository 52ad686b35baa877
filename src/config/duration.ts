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
