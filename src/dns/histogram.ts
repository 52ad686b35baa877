/** Counts of values by how large they are, as Prometheus has them, but each bucket for itself. Pure but for the counts. */

export interface Histogram {
  /** Upper bounds, ascending; what is larger is counted behind the last. */
  readonly bounds: readonly number[];
  /** One more than bounds; each value is in one of them. */
  readonly counts: number[];
  sum: number;
}

export function newHistogram(bounds: readonly number[]): Histogram {
  return { bounds, counts: new Array<number>(bounds.length + 1).fill(0), sum: 0 };
}

/** @param weight how many values this one stands for */
export function observe(histogram: Histogram, value: number, weight = 1): void {
  const { bounds, counts } = histogram;
  let bucket = 0;
  while (bucket < bounds.length && value > bounds[bucket]!) bucket += 1;
  counts[bucket]! += weight;
  histogram.sum += value * weight;
}

export function copyOf({ bounds, counts, sum }: Histogram): Histogram {
  return { bounds, counts: [...counts], sum };
}
