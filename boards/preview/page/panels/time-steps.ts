/**
 * How far samples lie apart.
 */

/** The usual distance between samples: the time column's own interval, else the median of the steps. */
export function usualStep(times: number[], interval?: number | null): number {
  if (interval) {
    return interval;
  }
  const steps = times
    .slice(1)
    .map((time, index) => time - (times[index] ?? 0))
    .sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? 60_000;
}
